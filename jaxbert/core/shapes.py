"""The shapes of parameters without their draws, which are most of what tracing an initialisation costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

from jaxbert.core.parameters import Params

_drawn: ContextVar[bool] = ContextVar("_drawn", default=True)


def drawn() -> bool:
    """Returns whether parameters are drawn. Inside `without_draws` only their shapes and places count."""
    return _drawn.get()


@contextmanager
def without_draws() -> Iterator[None]:
    """Lets `jaxbert.models.layers.parameter` make zeros inside. Only for tracing: nothing may keep the numbers."""
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)


def shapes_of(init: Callable[[jax.Array], Params]) -> Params:
    """Returns the parameters that `init(key)` makes, as ShapeDtypeStruct, with their places under a mesh."""
    with without_draws():
        # The lambda keeps this trace, which has zeros, apart from the traces of `init` that jax has kept or will keep.
        shapes: Params = jax.eval_shape(lambda: init(jax.random.key(0)))
    return shapes
