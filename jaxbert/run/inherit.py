"""The sizes and objectives that a config takes from the model of `--init`, or from a tokenizer: domain adaptation."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from jaxbert.config import (
    ObjectivesConfig,
    RunConfig,
    config_names,
    find_config,
    load_json,
)
from jaxbert.data.policies import POLICIES
from jaxbert.data.shards import read_manifest
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import head_sizes
from jaxbert.objectives import OBJECTIVES, heads_of, make_objectives, needs_pairs, policies_of
from jaxbert.run.wanted import Wanted
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded, load

_log = logging.getLogger(__name__)


def inherit(wanted: Wanted, workdir: Path, *, overwrite: bool = False) -> tuple[RunConfig, Loaded | None]:
    """Returns the complete config of a run, which inherits nothing any more, and its model, if it had to be opened.

    If a run has begun in `workdir`, this function reads its saved config first, so that the run resumes without the
    model.

    Args:
      wanted: the run as its user asks for it.
      workdir: workdir of the run.
      overwrite: begin again; a run in `workdir` does not count.

    Raises:
      InputError: there is no model, no tokenizer or no rows to inherit from.
    """
    if not wanted.incomplete:
        return wanted.config, None
    base, inherits = wanted.base, wanted.config.inherit
    begun = None if overwrite else _begun(wanted.config, workdir)
    if begun is not None:
        return wanted.finished(_as_begun(base, inherits, begun)), None
    if inherits == "nothing":
        vocab_size = Tokenizer.load(wanted.config.data.tokenizer).vocab_size
        return wanted.finished(_with_vocabulary(base, vocab_size)), None
    initial = load(wanted.config.init)
    inherited = _with_encoder_of(initial, base, wanted.config)
    if inherits == "all":
        inherited = _with_objectives_of(initial, inherited, wanted.config)
    return wanted.finished(inherited), initial


def _begun(config: RunConfig, workdir: Path) -> RunConfig | None:
    """Returns the config of the run in `workdir`, if it began from the same model and tokenizer."""
    try:
        saved = load_json(workdir / "config.json")
    except InputError:
        return None

    def start(one: RunConfig) -> Any:
        phases = [phase.name for phase in one.phases]
        return one.name, one.init, one.init_vocabulary, one.data.tokenizer, phases

    return saved if start(saved) == start(config) else None


def _as_begun(base: RunConfig, inherits: str, begun: RunConfig) -> RunConfig:
    """Returns `base` with what the run inherited when it began."""
    if inherits == "nothing":
        return _with_vocabulary(base, begun.encoder.vocab_size)
    config = dataclasses.replace(base, encoder=begun.encoder)
    if inherits == "encoder":
        return config
    data = dataclasses.replace(
        config.data,
        policy=begun.data.policy,
        tokenizer_kind=begun.data.tokenizer_kind,
        lowercase=begun.data.lowercase,
    )
    phases = tuple(
        dataclasses.replace(phase, length=was.length) for phase, was in zip(config.phases, begun.phases, strict=True)
    )
    return dataclasses.replace(config, objectives=begun.objectives, data=data, phases=phases)


def _with_vocabulary(config: RunConfig, vocab_size: int) -> RunConfig:
    return dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, vocab_size=vocab_size))


def _with_encoder_of(initial: Loaded, base: RunConfig, wanted: RunConfig) -> RunConfig:
    """Returns `base` with the model's encoder and the rows' vocabulary; `base` keeps its remat and its padding."""
    vocab_size = vocab_size_of(initial)
    if wanted.init_vocabulary == "new":
        named = [source.path for phase in wanted.phases for source in phase.rows]
        if wanted.data.tokenizer:
            vocab_size = Tokenizer.load(wanted.data.tokenizer).vocab_size
        elif named:
            vocab_size = read_manifest(local(named[0]), "rows")["vocab_size"]
    encoder = dataclasses.replace(
        initial.config,
        vocab_size=vocab_size,
        vocab_multiple=base.encoder.vocab_multiple,
        remat=base.encoder.remat,
    )
    return dataclasses.replace(base, encoder=encoder)


def vocab_size_of(initial: Loaded) -> int:
    """Returns the number of pieces of the model's tokenizer. Its embedding table may have more rows."""
    return initial.config.vocab_size if initial.tokenizer is None else initial.tokenizer.vocab_size


def _with_objectives_of(initial: Loaded, config: RunConfig, wanted: RunConfig) -> RunConfig:
    """Returns `config` with the objectives with which the model's family pretrains and whose heads the model has.

    Rows that are named decide on the lengths, and only objectives that can learn from them stay. Without named rows,
    the objectives decide on the policy, and no row is longer than the positions.
    """
    family = _family_of(initial)
    encoder = dataclasses.replace(config.encoder, family=family)
    recipe = _recipe(family)
    manifests = [read_manifest(local(phase.rows[0].path), "rows") if phase.rows else None for phase in wanted.phases]
    policies = {manifest["policy"] for manifest in manifests if manifest is not None}
    # The run gets a term beside the masked LM if the model has a head of the same name.
    beside: dict[str, Any] = {}
    for name in OBJECTIVES:
        part = getattr(recipe.objectives, name, None)
        if part is None or name not in initial.params or not policies <= set(policies_of(OBJECTIVES[name])):
            continue
        sizes = head_sizes(initial.params).get(name, {})
        settings = {field.name for field in dataclasses.fields(part)}
        beside[name] = dataclasses.replace(part, **{key: size for key, size in sizes.items() if key in settings})
    assert recipe.objectives.masked_lm is not None
    masked = dataclasses.replace(recipe.objectives.masked_lm, weight=1.0)
    no_term = {name: None for name in OBJECTIVES if hasattr(recipe.objectives, name)}
    objectives = ObjectivesConfig(**{**no_term, **beside, "masked_lm": masked})
    policy = recipe.data.policy
    if POLICIES[policy].pairs and not any(needs_pairs(OBJECTIVES[name]) for name in beside):
        policy = next(name for name in POLICIES if not POLICIES[name].pairs)
    data = dataclasses.replace(config.data, policy=policy)
    if initial.tokenizer is not None:
        kind: Any = initial.tokenizer.kind
        data = dataclasses.replace(data, tokenizer_kind=kind, lowercase=initial.tokenizer.lowercase)
    phases = tuple(
        dataclasses.replace(
            phase,
            length=min(phase.length, encoder.longest_row) if manifest is None else manifest["length"],
        )
        for phase, manifest in zip(config.phases, manifests, strict=True)
    )
    terms = ["masked LM", *(name.replace("_", " ") for name in beside if name != "masked_lm")]
    _log.info(
        f"adapting {initial.source}: {family}, {encoder.num_layers} layers x {encoder.hidden_size}, "
        f"{encoder.vocab_size} pieces; {', '.join(terms)}; rows of {', '.join(sorted(policies)) or policy}"
    )
    return dataclasses.replace(config, encoder=encoder, objectives=objectives, data=data, phases=phases)


def _recipe(family: str) -> RunConfig:
    """Returns the config of a family's pretraining; a config with only masked LM where the family has none."""
    name = f"{family}_base"
    if name in config_names():
        return find_config(name)
    return RunConfig(name=name, objectives=ObjectivesConfig(next_sentence=None))


def _family_of(initial: Loaded) -> str:
    """Returns the model's family, or one with the same files whose heads the model has: SpanBERT's files say BERT."""
    own = initial.config.family
    alike = [name for name in FAMILIES if FAMILIES[name].model_type == FAMILIES[own].model_type]

    def heads(name: str) -> set[str]:
        objectives = dataclasses.replace(_recipe(name).objectives, distillation=None)
        return set(heads_of(make_objectives(objectives, initial.config, length=8, slots=1)))

    complete = [name for name in alike if heads(name) <= initial.params.keys()]
    return own if own in complete or not complete else complete[0]
