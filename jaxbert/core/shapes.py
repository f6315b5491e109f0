"""The shapes of parameters without their draws, which are most of what tracing an initialisation costs."""

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
    """Lets `jaxbert.models.layers.parameter` make zeros inside. Only for tracing: nothing may keep the numbers."""
    context: AbstractContextManager[None] = _drawn(False)
    return context


def shapes_of(init: Callable[[jax.Array], Params]) -> Params:
    """Returns the parameters that `init(key)` makes, as ShapeDtypeStruct, with their places under a mesh."""
    with without_draws():
        shapes: Params = jax.eval_shape(lambda: init(jax.random.key(0)))
    return shapes
