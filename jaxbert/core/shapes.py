"""Takes the shapes of parameters without drawing them. The draws are most of the cost of tracing an initialisation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax

from jaxbert.core.parameters import Params

# jax keeps what it traces with one value apart from what it traces with the other, also inside jitted functions.
_drawn = jax.make_user_context(default_value=True)


def drawn() -> bool:
    """Returns whether parameters are drawn. Inside `without_draws` only their shapes and places count."""
    return bool(_drawn.value)


def without_draws() -> AbstractContextManager[None]:
    """Lets `jaxbert.models.layers.parameter` make zeros inside. Nothing may keep the zeros: use it to trace shapes."""
    context: AbstractContextManager[None] = _drawn(False)
    return context


def shapes_of(init: Callable[[jax.Array], Params]) -> Params:
    """Returns the parameters that `init(key)` makes, as ShapeDtypeStruct, with their places under a mesh."""
    with without_draws():
        shapes: Params = jax.eval_shape(lambda: init(jax.random.key(0)))
    return shapes
