"""A user's own meshes around a loaded model, on eight devices: prints the largest differences to one device."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbert.config import EncoderConfig
from jaxbert.models.model import Model
from jaxbert.use.library import Loaded

CONFIG = EncoderConfig(
    vocab_size=61, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=24, max_positions=12, dropout=0.0
)
PARTS = ("pooler", "masked_lm", "next_sentence", "token_classification")


def main() -> None:
    params = jax.jit(Model(CONFIG, PARTS).init)(jax.random.key(0))
    model = Loaded("here", CONFIG, params, None)
    rng = np.random.default_rng(0)
    rows = {
        "tokens": rng.integers(0, 61, (16, 12)),
        "types": rng.integers(0, 2, (16, 12)),
        "group": np.sort(rng.integers(0, 3, (16, 12)))[:, ::-1],
    }
    rows = {name: array.astype(np.int32) for name, array in rows.items()}

    def outputs(params: Any, rows: Any) -> dict[str, Any]:
        layers = model.encode(params, **rows, all_layers=True)
        hidden = layers[-1]
        return {
            "layers": layers,
            "next": model.next_sentence(params, hidden),
            "tokens": model.token_classification(params, hidden),
            "logits": model.masked_lm(params, hidden),
        }

    def both(params: Any, rows: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> tuple[Any, Any]:
            found = outputs(params, rows)
            return sum((array**2).sum() for array in found.values()), found

        slope, found = jax.grad(loss, has_aux=True)(params)
        return found, slope

    expected = jax.jit(both)(params, rows)

    def difference(found: Any, like: Any) -> float:
        pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True))
        return max(float(np.abs(a - b).max()) for a, b in pairs) / max(float(np.abs(b).max()) for _, b in pairs)

    report: dict[str, float] = {}
    # The axes of a user, and axes that have our names; `make_mesh` makes both explicit by default.
    for shape, names in (((8,), ("rows",)), ((2, 2, 2), ("data", "fsdp", "tensor"))):
        mesh = jax.make_mesh(shape, names)
        assert set(mesh.axis_types) == {AxisType.Explicit}
        placed = jax.device_put(params, NamedSharding(mesh, P()))
        spread = jax.device_put(rows, NamedSharding(mesh, P(names[0])))
        found = jax.jit(both)(placed, spread)
        assert found[0]["logits"].sharding.spec[0] == names[0]
        assert found[0]["layers"].sharding.spec[1] == names[0]
        report[f"explicit {names}, outputs"] = difference(found[0], expected[0])
        report[f"explicit {names}, gradient"] = difference(found[1], expected[1])
        with jax.set_mesh(mesh):
            report[f"explicit {names}, set"] = difference(jax.jit(outputs)(placed, spread), expected[0])

    # With `check_vma`, the gradient of a parameter that all devices share is the sum over them.
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    specs = {"layers": P(None, "rows"), "next": P("rows"), "tokens": P("rows"), "logits": P("rows")}
    mapped = jax.shard_map(both, mesh=mesh, in_specs=(P(), P("rows")), out_specs=(specs, P()), check_vma=True)
    found = jax.jit(mapped)(params, rows)
    report["shard_map, outputs"] = difference(found[0], expected[0])
    report["shard_map, gradient"] = difference(found[1], expected[1])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
