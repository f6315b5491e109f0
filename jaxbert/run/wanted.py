"""The beginning of `pretrain`, `launch` and `plan`: a config and what the command line changes in it.

Nothing here opens a model, touches a device or imports jax, so mistakes are found at once, on any machine.
"""

from __future__ import annotations

import dataclasses
import glob
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxbert.config import RowsSource, RunConfig, check
from jaxbert.config.overrides import Setting, apply_settings, parse_settings
from jaxbert.core.shell import path_word
from jaxbert.data.shards import MANIFEST
from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote

_log = logging.getLogger(__name__)

# How many files of a folder are looked at to find one with text.
_LOOKED_AT = 1000


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A run as its user asks for it. `jaxbert.run.resolve` makes it complete.

    Attributes:
      base: the config with `--data`, `--init` and `--tokenizer`. Inherited sizes and objectives are put
        into this config.
      settings: `--set`, parsed. They are applied after what is inherited.
      config: `base` with the settings applied: the complete config, unless `incomplete`.
      tokenizer: whether `--tokenizer` names the rows' vocabulary.
      files: files that a new run writes beside its config, by their names: a recipe that was chosen for it.
    """

    base: RunConfig
    settings: tuple[Setting, ...]
    config: RunConfig
    tokenizer: bool = False
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def incomplete(self) -> bool:
        """Returns whether the run takes sizes from a model or a tokenizer that is not open yet."""
        return self.config.inherit != "nothing" or self.tokenizer

    def finished(self, inherited: RunConfig) -> RunConfig:
        """Returns the complete config of a run whose base config has become `inherited`."""
        config, _ = apply_settings(inherited, self.settings)
        return dataclasses.replace(config, inherit="nothing")


def wanted(
    config: RunConfig,
    *,
    source: str | None = None,
    data: Sequence[str] = (),
    init: str | None = None,
    tokenizer: str | None = None,
    settings: Sequence[str] = (),
    whole: bool = True,
) -> Wanted:
    """Returns the run that the command line asks for, and logs what the scaling helpers of `--set` do.

    Args:
      config: the config that the command names.
      source: the SOURCE of the text that the run makes its rows from; None leaves the config's.
      data: `--data` texts; see `with_rows`.
      init: MODEL that the run starts from.
      tokenizer: directory of the rows' tokenizer, or of a run that has one. With an initial model it is a new
        vocabulary.
      settings: `--set` texts.
      whole: also check that the run could begin. A plan needs no rows and no initial model.

    Raises:
      InputError: a text cannot be read, a setting does not fit the config, the config inherits without a model, or a
        config that inherits nothing breaks a rule.
    """
    parsed = parse_settings(settings)
    if source is not None and data:
        raise InputError(
            "the run gets text and rows",
            where=f"--data {data[0]}",
            fix="Give only one of them: --text (or --source) for text, or --data for rows.",
            code="E-RUN-TEXT-AND-ROWS",
        )
    base = with_rows(with_source(config, source), data)
    base = dataclasses.replace(base, init=init or base.init)
    changed, lines = apply_settings(base, parsed)
    if tokenizer is not None:
        from jaxbert.text.tokenizers import Tokenizer

        rows_data = dataclasses.replace(base.data, tokenizer=str(Tokenizer.place(tokenizer)))
        base = dataclasses.replace(base, data=rows_data, init_vocabulary="new" if changed.init else "same")
        changed, lines = apply_settings(base, parsed)
    if whole and not changed.init:
        for field, without in (("inherit", "nothing"), ("init_vocabulary", "same")):
            if getattr(changed, field) != without:
                raise InputError(
                    f"{field} is {getattr(changed, field)}, but there is no initial model",
                    where=f"config {changed.name}",
                    fix="Pass --init MODEL.",
                    code="E-RUN-INHERIT",
                )
    if whole and changed.inherit == "nothing":
        check(changed)
    for line in lines:
        _log.info(line)
    return Wanted(base, parsed, changed, tokenizer is not None)


def with_source(config: RunConfig, source: str | None) -> RunConfig:
    """Returns `config` with phases that all make their rows from `source`; None changes nothing."""
    if source is None:
        return config
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, source=source),
        phases=tuple(dataclasses.replace(phase, rows=()) for phase in config.phases),
    )


def with_rows(config: RunConfig, data: Sequence[str]) -> RunConfig:
    """Returns `config` with the rows of each `--data [PHASE:]ROWS[=WEIGHT]`. Without PHASE, rows are for every phase.

    Raises:
      InputError: a weight is not a positive, finite number, or a path holds text instead of rows.
    """
    names = [phase.name for phase in config.phases]
    chosen: dict[str, list[RowsSource]] = {name: [] for name in names}
    for text in data:
        phase, separator, rest = text.partition(":")
        phases, rows = ([phase], rest) if separator and phase in names else (names, text)
        source = _rows_source(text, rows)
        for name in phases:
            chosen[name].append(source)
    changed = tuple(
        dataclasses.replace(phase, rows=tuple(chosen[phase.name])) if chosen[phase.name] else phase
        for phase in config.phases
    )
    return dataclasses.replace(config, phases=changed)


def _rows_source(text: str, rows: str) -> RowsSource:
    """Returns ROWS or ROWS=WEIGHT; `text` is the whole argument, for errors."""
    path, separator, weight = rows.rpartition("=")
    if not separator or os.path.exists(rows):
        _check_no_text(text, rows)
        return RowsSource(path=rows)
    try:
        source = RowsSource(path=path, weight=float(weight))
    except ValueError:
        raise InputError(
            f"{weight!r} is not a weight",
            where=f"--data {text}",
            fix="Write ROWS=0.5, or only ROWS.",
            code="E-ARGUMENT-WEIGHT",
        ) from None
    if not 0 < source.weight < math.inf:
        raise InputError(
            "a weight must be positive and finite",
            where=f"--data {text}",
            fix="Write for example ROWS=0.5.",
            code="E-ARGUMENT-WEIGHT",
        )
    _check_no_text(text, path)
    return source


def _check_no_text(text: str, path: str) -> None:
    """Raises InputError where a path of `--data` is text: a file, a pattern of files, or a folder with files of text.

    Args:
      text: the whole argument, for the error.
      path: the path in it.
    """
    if is_remote(path) or (os.path.isdir(path) and not _holds_text(path)):
        return
    if os.path.exists(path) or (glob.has_magic(path) and glob.glob(path, recursive=True)):
        raise InputError(
            "this is text, but --data takes rows that `jaxbert prepare` has made",
            where=f"--data {text}",
            fix=f"To train on text, give --text {path_word(path)} instead.",
            code="E-RUN-DATA-IS-TEXT",
        )


def _holds_text(folder: str) -> bool:
    """Returns whether one of the first files in a folder, or below it, is text, and none is what jaxbert wrote."""
    from jaxbert.data.sources.formats import kind_of
    from jaxbert.data.sources.written import written

    found = False
    seen = 0
    for _, _, names in os.walk(folder):
        if MANIFEST in names or written(names):
            return False
        found = found or any(kind_of(Path(name)) for name in names)
        seen += len(names)
        if seen > _LOOKED_AT:
            break
    return found
