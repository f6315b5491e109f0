"""Maps names between our parameters and the tensors of published files, by one table for each family.

Both directions use the same table. Import accounts for every tensor. It names a tensor that the table does not know,
that occurs twice, that has a wrong shape, that is not finite, or that differs from its tied copy. Every parameter comes
from the file. Names, shapes and types are checked in the headers, before memory for the numbers is allocated.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import jax
import numpy as np

from jaxbert.config import EncoderBase
from jaxbert.convert.tensors import FLOATS, Array, Shape, Tensor, Tensors, np_dtype
from jaxbert.core.parameters import Params
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES, families_with
from jaxbert.models.families.family import Family, Form, Name
from jaxbert.models.model import HEADS, HeadSizes, Model, on_pooler

# Form -> (published shape of an array of ours, our array as published). The way back is `_ours`.
_FORMS: Mapping[Form, tuple[Callable[[Shape], Shape], Callable[[Array], Array]]] = {
    "same": (lambda shape: shape, lambda w: w),
    "flat": (lambda shape: (prod(shape),), lambda w: w.reshape(-1)),
    "linear": (lambda shape: (prod(shape[1:]), shape[0]), lambda w: w.reshape(w.shape[0], -1).T),
    "linear_of_heads": (lambda shape: (shape[-1], prod(shape[:-1])), lambda w: w.reshape(-1, w.shape[-1]).T),
}
# Rows that a file's vocabulary may have beyond its config's, as trainers pad it (to multiples of 8, or of 128 times the
# number of tensor-parallel devices: at most 1,023 for 8 of them).
_PADDING = 1024

# Heads of tasks, of any family.
TASKS = frozenset(task for family in FAMILIES.values() for task in family.tasks)

_log = logging.getLogger(__name__)


def name_map(config: EncoderBase, task: str | None = None) -> tuple[Name, ...]:
    """Returns the names of a family's pretraining classes, or with a `task` the names of its class."""
    family = FAMILIES[config.family]
    names = family.names(config)
    if task is None:
        return names
    of_task = family.tasks[task].names
    own = {name.ours for name in of_task}
    return (*(name for name in names if name.ours not in own), *of_task)


def task_of(family: Family, heads: Iterable[str]) -> str | None:
    """Returns the one task among `heads`; None if there is none.

    Raises:
      InputError: there are several: no published class has two.
    """
    found = [head for head in heads if head in family.tasks]
    if len(found) > 1:
        raise InputError(
            f"no published class has both {found[0]} and {found[1]}",
            where="heads",
            fix="Save a model of one of them.",
            code="E-EXPORT-TASKS",
        )
    return found[0] if found else None


def check_heads(config: EncoderBase, heads: Iterable[str], where: str) -> None:
    """Raises InputError where the family's files have no place for a head, or hold another pooler.

    A run may train such a head: only a file must not lose it in silence.
    """
    family, heads = FAMILIES[config.family], list(heads)
    # A class for a task may keep further heads beside it: DistilBERT's classifier of texts has its pooler.
    names = [
        *family.names(config),
        *(name for head in heads if head in family.tasks for name in family.tasks[head].names),
    ]
    for head in heads:
        if not any(name.part == head for name in names):
            able = ", ".join(families_with(head)) or "none"
            raise InputError(
                f"a {config.family} model's files have no place for the head {head} (families that have one: {able})",
                where=where,
                fix=f"Write the model without it: {leave_out(head)}.",
                code="E-EXPORT-HEAD",
            )
        if head == "pooler" and config.pooler != family.pooler:
            raise InputError(
                f"the model's pooler has the activation {config.pooler}, but a {config.family} model's files mean "
                f"{family.pooler}",
                where=where,
                fix="Write the model without the pooler and the heads that read it: "
                f"{leave_out(*_on_the_pooler(heads))}.",
                code="E-EXPORT-POOLER",
            )


def check_fields(config: EncoderBase, where: str) -> None:
    """Raises InputError where the family's files cannot hold a field of the encoder (`Family.only`).

    A run may train such an encoder: its checkpoints hold it, and only a published file would tell another one.
    """
    for field, allowed in FAMILIES[config.family].only.items():
        value = getattr(config, field)
        if not allowed(value):
            raise InputError(
                f"encoder.{field} is {value!r}, which the files of a {config.family} model cannot hold",
                where=where,
                fix="Use the run's checkpoints, or train with an encoder.family whose files can hold it.",
                code="E-EXPORT-FIELD",
            )


def why_not_written(config: EncoderBase, heads: Iterable[str]) -> str:
    """Returns why the family's files cannot hold a model with these heads; "" where they can."""
    try:
        check_fields(config, "")
        check_heads(config, [head for head in heads if HEADS[head].published], "")
    except InputError as error:
        return error.what
    return ""


# ----------------------------------------------------------------------------------------------------------------------
# From a file's tensors


def import_params(
    tensors: Tensors,
    config: EncoderBase,
    where: str,
    *,
    task: str | None = None,
    drop: Sequence[str] = (),
) -> tuple[Params, tuple[str, ...]]:
    """Returns parameters from a file's tensors.

    Args:
      tensors: by published name; each is read once.
      config: the encoder they belong to.
      where: the file or directory, for errors.
      task: the head that the file's class has, where it is one of `Family.tasks`.
      drop: shell patterns of published names that are to be left out.

    Returns:
      (parameters, names of the heads): float32 numpy arrays, layers stacked, the vocabulary padded with zeros to
      `config.padded_vocab_size` (whose logits are masked). A head is included if the file has all of
      its tensors.

    Raises:
      InputError: a tensor is unmapped, doubled, missing, mis-shaped, not of finite floats, or differs from its tied
        copy; a pattern of `drop` fits none.
    """
    family = FAMILIES[config.family]
    names = name_map(config, task)
    tensors = _without(tensors, drop, where)
    if config.distinct_layers > len(tensors):
        raise InputError(
            f"the file has {len(tensors)} tensors, which is too few for {config.distinct_layers} layers",
            where=where,
            fix="Give the config that belongs to this file.",
            code="E-CONVERT-LAYERS",
        )
    there = _resolve(tensors, family, family.names(config), where)
    wanted = {name: _published(name, config, family, bare=False) for name in names}
    _leave_out_unused(there, config, names)
    _reject_unmapped(there, config, wanted, where)

    parts: dict[str, list[bool]] = {}
    for name, published in wanted.items():
        parts.setdefault(name.part, []).extend(any(copy in there for copy in copies) for copies in published)
    # A tied copy of an encoder's tensor does not show that the file has the encoder, which must be there as a whole
    # anyway.
    heads = tuple(head for head in HEADS if any(parts.get(head, ())))
    for head in heads:
        if on_pooler(head) and "pooler" not in heads:
            what = head.replace("_", "-")
            raise InputError(
                f"the file has a {what} head, but no pooler for it",
                where=where,
                fix=f"Give a file with both, or {leave_out(*_of_head(head, wanted, there))}.",
                code="E-CONVERT-POOLER",
            )
    sizes = _head_sizes(tensors, there, wanted, heads)
    shapes = _flatten(shapes_of(Model(config, heads, sizes=sizes).init))
    _check_covered(shapes, names, heads)

    plan: list[tuple[Name, int, list[str]]] = []
    for name, published in wanted.items():
        if name.part not in ("encoder", *heads):
            continue
        shape = shapes[name.ours].shape
        shape = shape[1:] if "{layer}" in name.theirs else shape
        for layer, copies in enumerate(published):
            if name.part != "encoder" and not any(copy in there for copy in copies):
                raise InputError(
                    f"tensor {copies[0]!r} is missing",
                    where=where,
                    fix=f"Give a file that is whole, or {leave_out(*_of_head(name.part, wanted, there))}.",
                    code="E-CONVERT-MISSING",
                )
            present = _check_header(tensors, there, copies, name, shape, config, where)
            plan.append((name, layer, present))
    _check_padding(tensors, plan, config, where)

    params: Params = {}
    results: dict[str, Array] = {}
    for name, layer, present in plan:
        if name.ours not in results:
            results[name.ours] = np.zeros(shapes[name.ours].shape, np.float32)
            _insert(params, name.ours, results[name.ours])
        target = results[name.ours][layer] if "{layer}" in name.theirs else results[name.ours]
        if name.vocabulary:
            target = target[: config.vocab_size]
        target[...] = _read(tensors, present, name, config, target.shape, where)
    return {part: params[part] for part in ("encoder", *heads)}, heads


def leave_out(*patterns: str) -> str:
    """Returns the words of an error that say how to leave out tensors, or heads of a run, on both ways."""
    return f"leave it out: `jaxbert convert --drop {shlex.join(patterns)}`, or jaxbert.load(..., drop={list(patterns)})"


def _of_head(head: str, wanted: Mapping[Name, list[tuple[str, ...]]], there: Mapping[str, str]) -> list[str]:
    """Returns the names in the file of the tensors of a head."""
    return [
        there[copy]
        for name, published in wanted.items()
        if name.part == head
        for copies in published
        for copy in copies
        if copy in there
    ]


def _on_the_pooler(heads: Iterable[str]) -> list[str]:
    return [head for head in heads if head == "pooler" or on_pooler(head)]


def _without(tensors: Tensors, drop: Sequence[str], where: str) -> dict[str, Tensor]:
    """Returns `tensors` without those that a pattern of `drop` matches."""
    for pattern in drop:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise InputError(
                f"no tensor is called {pattern!r}",
                where=where,
                fix="Check the pattern that --drop or drop= gives.",
                code="E-CONVERT-DROP",
            )
    left = {name: tensor for name, tensor in tensors.items() if not any(fnmatchcase(name, p) for p in drop)}
    if len(left) < len(tensors):
        _log.warning(f"left out as asked: {', '.join(name for name in tensors if name not in left)}")
    return left


def _resolve(tensors: Iterable[str], family: Family, known: Iterable[Name], where: str) -> dict[str, str]:
    """Returns {today's full name of each tensor: its name in the file}, without ignored tensors."""
    names = {name: name for name in tensors}
    for wrapper in family.wrappers:
        if names and all(name.startswith(wrapper) for name in names):
            names = {name.removeprefix(wrapper): whole for name, whole in names.items()}
    bare = not any(name.startswith(family.prefix) for name in names)
    encoder_roots = {
        name.theirs.removeprefix(family.prefix).split(".")[0] for name in known if name.theirs.startswith(family.prefix)
    }
    there: dict[str, str] = {}
    for name, whole in names.items():
        full = family.prefix + name if bare and name.split(".")[0] in encoder_roots else name
        for old, new in family.old_names.items():
            if full.endswith(old):
                full = full.removesuffix(old) + new
        if full in family.ignored:
            continue
        if full in there:
            raise InputError(
                f"tensors {there[full]!r} and {whole!r} are the same parameter",
                where=where,
                fix="Remove one of them.",
                code="E-CONVERT-DUPLICATE",
            )
        there[full] = whole
    return there


def _leave_out_unused(there: dict[str, str], config: EncoderBase, names: Sequence[Name]) -> None:
    """Removes what a task's class does not read, as the pooler that older files keep beside RoBERTa's classifier."""
    used = {name.theirs for name in names}
    unused = {name.theirs for name in FAMILIES[config.family].names(config)} - used
    found = [full for full in there if full in unused]
    if found:
        _log.warning(f"not used by the class of the file, and left out: {', '.join(sorted(found))}")
    for full in found:
        del there[full]


def _reject_unmapped(
    there: Mapping[str, str], config: EncoderBase, wanted: Mapping[Name, list[tuple[str, ...]]], where: str
) -> None:
    known = {copy for published in wanted.values() for copies in published for copy in copies}
    unknown = [name for full, name in there.items() if full not in known]
    if not unknown:
        return
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    tasks = FAMILIES[config.family].tasks.values()
    of_task = {name.theirs for task in tasks for name in task.names}
    if all(full in of_task for full in there if full not in known):
        fix = f"Name the class in config.json's architectures: {', '.join(task.architecture for task in tasks)}"
    else:
        fix = "Check model_type and the number of layers"
    fix += f"; or {leave_out(*sorted(unknown)[:3], *(['...'] if len(unknown) > 3 else []))}."
    heads = ", ".join(head for head in HEADS if any(name.part == head for name in wanted))
    raise InputError(
        f"tensor {min(unknown)!r}{more} belongs to no parameter of a {config.family} with {config.num_layers} layers "
        f"(heads that are known here: {heads})",
        where=where,
        fix=fix,
        code="E-CONVERT-UNKNOWN",
    )


def _head_sizes(
    tensors: Tensors,
    there: Mapping[str, str],
    wanted: Mapping[Name, list[tuple[str, ...]]],
    heads: Iterable[str],
) -> HeadSizes:
    """Returns the sizes that heads have beside the encoder's config, from the shapes of their tensors in the file."""
    found: dict[str, Params] = {head: {} for head in heads}
    for name, (copies, *_) in wanted.items():
        # A head of pretraining tells as many classes apart as its objective has.
        fixed = name.part in HEADS and HEADS[name.part].classes > 0 and name.part not in TASKS
        if name.part not in found or fixed or copies[0] not in there or name.form not in ("same", "linear"):
            continue
        shape = tensors[there[copies[0]]].shape
        _insert(found, name.ours, np.broadcast_to(np.float32(0), shape if name.form == "same" else shape[::-1]))
    sizes: dict[str, Mapping[str, int]] = {}
    for head, params in found.items():
        # Where tensors are missing or have other dimensions, the shapes are checked against the usual sizes.
        with suppress(KeyError, ValueError, IndexError):
            sizes[head] = HEADS[head].sizes(params)
    return sizes


def _check_header(
    tensors: Tensors,
    there: Mapping[str, str],
    copies: tuple[str, ...],
    name: Name,
    shape: Shape,
    config: EncoderBase,
    where: str,
) -> list[str]:
    """Checks the headers of a parameter's copies in the file, and returns the names of these copies."""
    present = [there[copy] for copy in copies if copy in there]
    if not present:
        raise InputError(
            f"tensor {copies[0]!r} is missing", where=where, fix="Give a file that is whole.", code="E-CONVERT-MISSING"
        )
    if name.vocabulary:
        shape = (config.vocab_size, *shape[1:])
    expected = _FORMS[name.form][0](shape)
    for copy in present:
        tensor = tensors[copy]
        if tensor.dtype not in FLOATS:
            raise InputError(
                f"tensor {copy!r} is of {tensor.dtype}, not of floats",
                where=where,
                fix="Give a file of float16, bfloat16 or float32 weights.",
                code="E-CONVERT-TYPE",
            )
        beyond = name.vocabulary and len(tensor.shape) == len(expected) and tensor.shape[1:] == expected[1:]
        padded = beyond and _is_padding(tensor.shape[0], expected[0])
        if tensor.shape != expected and not padded:
            raise InputError(
                f"tensor {copy!r} has shape {list(tensor.shape)}, but its config requires {list(expected)}",
                where=where,
                fix="Give the config.json that belongs to this file.",
                code="E-CONVERT-SHAPE",
            )
    return present


def _is_padding(rows: int, vocab_size: int) -> bool:
    return rows % 8 == 0 and vocab_size < rows < vocab_size + _PADDING


def _check_padding(
    tensors: Tensors, plan: Iterable[tuple[Name, int, list[str]]], config: EncoderBase, where: str
) -> None:
    """Checks that all tensors of the vocabulary have equal padding. If not, one belongs to another model."""
    rows = {copy: tensors[copy].shape[0] for name, _, present in plan if name.vocabulary for copy in present}
    longer = {copy: count for copy, count in rows.items() if count > config.vocab_size}
    if len(set(rows.values())) > 1:
        copy = next(iter(longer))
        shape = list(tensors[copy].shape)
        raise InputError(
            f"tensor {copy!r} has shape {shape}, but its config requires {[config.vocab_size, *shape[1:]]}",
            where=where,
            fix="Give the config.json that belongs to this file.",
            code="E-CONVERT-SHAPE",
        )
    if longer:
        count = max(longer.values())
        _log.warning(
            f"the vocabulary is padded from {config.vocab_size} to {count} rows there; the padding is left out"
        )


def _read(tensors: Tensors, present: Sequence[str], name: Name, config: EncoderBase, shape: Shape, where: str) -> Array:
    """Reads one parameter in our `shape` from its copies in the file, which must agree to the last bit."""

    def read(copy: str) -> Array:
        array = tensors[copy].read()
        if array.shape != tensors[copy].shape:
            raise InputError(
                f"tensor {copy!r} is not what its header says",
                where=where,
                fix="Copy the file again.",
                code="E-CONVERT-DAMAGED",
            )
        if name.vocabulary:
            array = array[: config.vocab_size]
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            count = int(np.count_nonzero(~np.isfinite(array)))
            raise InputError(
                f"tensor {copy!r} has {count:,} of {array.size:,} values that are not finite",
                where=where,
                fix="Give a checkpoint from before the run diverged, or copy the file again.",
                code="E-CONVERT-NOT-FINITE",
            )
        return array

    first, *others = present
    array = read(first)
    for other in others:
        if not np.array_equal(array, read(other)):
            raise InputError(
                f"tensors {first!r} and {other!r} differ, but they are tied",
                where=where,
                fix="Only models with tied embeddings can be loaded. Without that head the encoder can be: "
                f"{leave_out(other.rsplit('.', 2)[0] + '.*')}.",
                code="E-CONVERT-TIED",
            )
    return _ours(array, name.form, shape)


def _ours(published: Array, form: Form, shape: Shape) -> Array:
    """Returns a published array in our `shape`."""
    return (published.T if form.startswith("linear") else published).reshape(shape)


# ----------------------------------------------------------------------------------------------------------------------
# To a file's tensors


def export_tensors(params: Params, config: EncoderBase, dtype: str = "float32") -> dict[str, Tensor]:
    """Returns the published tensors of `params`, by name. Each is made when it is read.

    Layers are unstacked, the vocabulary's padding is cut, tied copies are left out. An encoder without a head that
    predicts (a pooler does not) is written without the prefix, as its peers' bare models are.

    Args:
      params: parameters on the host or on devices. A read of a tensor fetches only its layer.
      config: the encoder's.
      dtype: of the tensors, a name of `FLOATS`.
    """
    family = FAMILIES[config.family]
    leaves = _flatten(params)
    heads = tuple(part for part in params if part != "encoder")
    names = name_map(config, task_of(family, heads))
    check_heads(config, heads, "heads")
    _check_covered(leaves, names, heads)
    bare = set(heads) <= {"pooler"}
    prefix = family.prefix if bare else ""
    as_numpy = np_dtype(dtype)

    def tensor(leaf: Any, name: Name, layer: int) -> Tensor:
        stacked = "{layer}" in name.theirs
        shape = leaf.shape[1:] if stacked else leaf.shape
        shape = (config.vocab_size, *shape[1:]) if name.vocabulary else shape
        published, form = _FORMS[name.form]

        def read() -> Array:
            ours = np.asarray(jax.device_get(leaf[layer] if stacked else leaf))
            ours = ours[: config.vocab_size] if name.vocabulary else ours
            # Who writes the tensor finds the values that the type cannot hold.
            with np.errstate(over="ignore"):
                return np.ascontiguousarray(form(ours), as_numpy)

        return Tensor(published(shape), dtype, read)

    def zeros(shape: Shape) -> Tensor:
        return Tensor(shape, dtype, lambda: np.zeros(shape, as_numpy))

    tensors = {name.removeprefix(prefix): zeros(shape) for name, shape in family.zeros(config).items()}
    for name in names:
        if name.ours in leaves:
            for layer, (first, *_) in enumerate(_published(name, config, family, bare)):
                tensors[first] = tensor(leaves[name.ours], name, layer)
    return tensors


def export_params(params: Params, config: EncoderBase, dtype: Any = "float32") -> dict[str, Array]:
    """Returns the published tensors of `params`, or of gradients in their shapes, as arrays; see `export_tensors`."""
    return {name: tensor.read() for name, tensor in export_tensors(params, config, np.dtype(dtype).name).items()}


def _published(name: Name, config: EncoderBase, family: Family, bare: bool) -> list[tuple[str, ...]]:
    """Returns the published names of `name`: for each layer (or once), the tensor and its tied copies."""
    layers = range(config.distinct_layers) if "{layer}" in name.theirs else (0,)
    prefix = family.prefix if bare else ""
    return [
        tuple(copy.format(layer=layer).removeprefix(prefix) for copy in (name.theirs, *name.also)) for layer in layers
    ]


# ----------------------------------------------------------------------------------------------------------------------
# Parameters by path


def _check_covered(leaves: Iterable[str], names: Iterable[Name], heads: tuple[str, ...]) -> None:
    """Checks that the table has exactly one line for each parameter, so that no new one vanishes from files."""
    ours = [name.ours for name in names if name.part in ("encoder", *heads)]
    if sorted(ours) != sorted(leaves):
        raise ValueError(f"the name map and the parameters differ in {sorted(set(ours) ^ set(leaves))}")


def _flatten(params: Params) -> dict[str, Any]:
    return {
        "/".join(str(key.key) for key in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }


def _insert(params: Params, path: str, leaf: Array) -> None:
    *parents, last = path.split("/")
    for key in parents:
        params = params.setdefault(key, {})
    params[last] = leaf
