"""jaxbert: pretrains, adapts and ships BERT-family encoders in JAX.

`jaxbert.load(MODEL)` loads a model. A name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbert.use.library import Batch, Loaded, load

__all__ = ["Batch", "Loaded", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "Loaded", "Batch"):
        from jaxbert.use import library

        return getattr(library, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxbert")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
