"""libtpu compiles here, jax itself stays on the CPU: set before anything imports jax."""

from __future__ import annotations

from jaxbert.plan.compile import prepare

prepare()
