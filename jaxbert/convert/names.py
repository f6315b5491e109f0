"""The two-way name-map engine: a family's table of names, applied to parameters or to a file's tensors.

Both directions read the same table, so what one writes the other reads. Every tensor is accounted for: one that the
table does not know, that is there twice, that has another shape, or that should equal its tied copy and does not is an
error that names it; no parameter is ever left at a made-up value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxbert.config import EncoderConfig
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.families.family import Family, Form, Name
from jaxbert.models.layers import Params
from jaxbert.models.model import HEADS, HeadSizes, Model

Array = NDArray[Any]
Shape = tuple[int, ...]

# Form -> (published shape of an array of ours, our array as published). The way back is `_ours`.
_FORMS: Mapping[Form, tuple[Callable[[Shape], Shape], Callable[[Array], Array]]] = {
    "same": (lambda shape: shape, lambda w: w),
    "flat": (lambda shape: (prod(shape),), lambda w: w.reshape(-1)),
    "linear": (lambda shape: (prod(shape[1:]), shape[0]), lambda w: w.reshape(w.shape[0], -1).T),
    "linear_of_heads": (lambda shape: (shape[-1], prod(shape[:-1])), lambda w: w.reshape(-1, w.shape[-1]).T),
}


def _ours(published: Array, form: Form, shape: Shape) -> Array:
    """A published array in our `shape`."""
    return (published.T if form.startswith("linear") else published).reshape(shape)


def import_params(tensors: Mapping[str, Array], config: EncoderConfig, where: str) -> tuple[Params, tuple[str, ...]]:
    """Parameters from a file's tensors.

    Args:
      tensors: by published name; each is read once, so that a lazy mapping keeps little in memory.
      config: the encoder they belong to.
      where: the file or directory, for errors.

    Returns:
      (parameters, names of the heads): float32 numpy arrays, layers stacked, the vocabulary padded with zeros to
      `config.padded_vocab_size` (whose logits are masked). Only heads that are there, whole.

    Raises:
      InputError: a tensor is unmapped, doubled, missing, mis-shaped, not of floats, or differs from its tied copy.
    """
    family = FAMILIES[config.family]
    names = family.names(config)
    there = _resolve(tensors, family, names, where)
    wanted = {name: _published(name, config, family, bare=False) for name in names}
    _reject_unmapped(there, names, config, wanted, where)

    parts: dict[str, list[bool]] = {}
    for name, published in wanted.items():
        parts.setdefault(name.part, []).extend(any(copy in there for copy in copies) for copies in published)
    # A tied copy of the encoder's in a file is no sign of the encoder: the whole of it is needed anyway.
    heads = tuple(head for head in HEADS if any(parts.get(head, ())))
    for head in {"next_sentence", "sentence_order"} & set(heads):
        if "pooler" not in heads:
            what = head.replace("_", "-")
            raise InputError(
                f"has a {what} head but no pooler", where=where, fix="Give a file with both, or with neither."
            )
    sizes = _head_sizes(tensors, there, wanted, heads)
    shapes = _flatten(jax.eval_shape(Model(config, heads, sizes=sizes).init, jax.random.key(0)))
    _check_covered(shapes, names, heads)

    params: Params = {}
    for name, published in wanted.items():
        if name.part not in ("encoder", *heads):
            continue
        shape = shapes[name.ours].shape
        stacked = "{layer}" in name.theirs
        result = np.zeros(shape, np.float32)
        for layer, copies in enumerate(published):
            target = result[layer] if stacked else result
            if name.vocabulary:
                target = target[: config.vocab_size]
            target[...] = _read(tensors, there, copies, name.form, target.shape, where)
        _insert(params, name.ours, result)
    return params, heads


def export_params(params: Params, config: EncoderConfig, dtype: Any = np.float32) -> dict[str, Array]:
    """The published tensors of `params` (or of anything shaped like them: gradients), as contiguous arrays of `dtype`.

    Layers are unstacked, the vocabulary's padding is cut, tied copies are left out. An encoder without a head that
    predicts (a pooler does not) is written without the prefix, as its peers' bare models are.
    """
    family = FAMILIES[config.family]
    leaves = _flatten(params)
    heads = tuple(part for part in params if part != "encoder")
    names = family.names(config)
    _check_covered(leaves, names, heads)
    bare = set(heads) <= {"pooler"}
    prefix = family.prefix if bare else ""
    tensors = {name.removeprefix(prefix): np.zeros(shape, dtype) for name, shape in family.zeros(config).items()}
    for name in names:
        if name.ours not in leaves:
            continue
        ours = np.asarray(jax.device_get(leaves[name.ours]))
        stacked = "{layer}" in name.theirs
        for layer, (first, *_) in enumerate(_published(name, config, family, bare)):
            array = ours[layer] if stacked else ours
            if name.vocabulary:
                array = array[: config.vocab_size]
            tensors[first] = np.ascontiguousarray(_FORMS[name.form][1](array), dtype)
    return tensors


def _published(name: Name, config: EncoderConfig, family: Family, bare: bool) -> list[tuple[str, ...]]:
    """Published names of `name`: for each layer (or once), the tensor and its tied copies."""
    layers = range(config.distinct_layers) if "{layer}" in name.theirs else (0,)
    prefix = family.prefix if bare else ""
    return [
        tuple(copy.format(layer=layer).removeprefix(prefix) for copy in (name.theirs, *name.also)) for layer in layers
    ]


def _head_sizes(
    tensors: Mapping[str, Array],
    there: Mapping[str, str],
    wanted: Mapping[Name, list[tuple[str, ...]]],
    heads: Iterable[str],
) -> HeadSizes:
    """Sizes that a head has beside the encoder's: those of its tensors in the file."""
    tables = [copies for name, (copies, *_) in wanted.items() if name.ours == "span_boundary/place/table"]
    if "span_boundary" not in heads or not tables or tables[0][0] not in there:
        return {}
    targets, width = tensors[there[tables[0][0]]].shape
    return {"span_boundary": {"max_targets": targets, "position_size": width}}


def _resolve(tensors: Iterable[str], family: Family, known: Iterable[Name], where: str) -> dict[str, str]:
    """Today's full name of each tensor -> the name that the file uses; the ignored ones left out."""
    names = list(tensors)
    bare = not any(name.startswith(family.prefix) for name in names)
    encoder_roots = {
        name.theirs.removeprefix(family.prefix).split(".")[0] for name in known if name.theirs.startswith(family.prefix)
    }
    there: dict[str, str] = {}
    for name in names:
        full = family.prefix + name if bare and name.split(".")[0] in encoder_roots else name
        for old, new in family.old_names.items():
            if full.endswith(old):
                full = full.removesuffix(old) + new
        if full in family.ignored:
            continue
        if full in there:
            raise InputError(
                f"tensors {there[full]!r} and {name!r} are the same parameter", where=where, fix="Remove one of them."
            )
        there[full] = name
    return there


def _reject_unmapped(
    there: Mapping[str, str],
    names: Iterable[Name],
    config: EncoderConfig,
    wanted: Mapping[Name, list[tuple[str, ...]]],
    where: str,
) -> None:
    known = {copy for published in wanted.values() for copies in published for copy in copies}
    unknown = [name for full, name in there.items() if full not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(
            f"tensor {min(unknown)!r}{more} belongs to no parameter of a {config.family} with "
            f"{config.num_layers} layers",
            where=where,
            fix=f"Check model_type and the number of layers, or remove it; known heads: {', '.join(_heads(names))}.",
        )


def _read(
    tensors: Mapping[str, Array],
    there: Mapping[str, str],
    copies: tuple[str, ...],
    form: Form,
    shape: Shape,
    where: str,
) -> Array:
    """One parameter in our `shape`, from whichever of its `copies` are there; they must agree to the last bit."""
    present = [there[copy] for copy in copies if copy in there]
    if not present:
        raise InputError(f"tensor {copies[0]!r} is missing", where=where, fix="Give a file that is whole.")
    first, *others = present
    array = _floats(tensors, first, where)
    expected = _FORMS[form][0](shape)
    if array.shape != expected:
        raise InputError(
            f"tensor {first!r} has shape {list(array.shape)}, its config asks for {list(expected)}",
            where=where,
            fix="Give the config.json that belongs to this file.",
        )
    for other in others:
        if not np.array_equal(array, _floats(tensors, other, where), equal_nan=True):
            raise InputError(
                f"tensors {first!r} and {other!r} differ, but they are tied",
                where=where,
                fix="Only models with tied embeddings can be loaded.",
            )
    return _ours(array, form, shape)


def _floats(tensors: Mapping[str, Array], name: str, where: str) -> Array:
    array = tensors[name]
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise InputError(
            f"tensor {name!r} is of {array.dtype.name}, not of floats",
            where=where,
            fix="Give a file of float16, bfloat16 or float32 weights.",
        )
    return array


def _heads(names: Iterable[Name]) -> list[str]:
    parts = {name.part for name in names}
    return [head for head in HEADS if head in parts]


def _check_covered(leaves: Iterable[str], names: Iterable[Name], heads: tuple[str, ...]) -> None:
    """The table has exactly one line for each parameter: a new parameter without one must not vanish from files."""
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
