"""Starting runs somewhere: one file a target, a pure function that says what is run, and one place that runs it.

A target takes (number of processes, arguments of `jaxbert pretrain`, workdir, devices=...) and returns a `Job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxbert.launch.job import Command, Job
from jaxbert.launch.local import local
from jaxbert.launch.running import run

TARGETS: Mapping[str, Callable[..., Job]] = {"local": local}

__all__ = ["TARGETS", "Command", "Job", "run"]
