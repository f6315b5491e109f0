"""Which errors of a Beam pipeline interrupt, with stand-ins for Beam; `make test-cloud` has the real one."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from jaxbert.data import beam
from jaxbert.errors import InputError, Interrupted


class RpcError(Exception):
    """The class of grpc."""


def run_pipeline(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Runs a pipeline that fails with `error`."""

    def fails(**_):
        raise error

    options = types.SimpleNamespace(PipelineOptions=lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "apache_beam", types.SimpleNamespace(Pipeline=fails))
    monkeypatch.setitem(sys.modules, "apache_beam.options", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", options)
    monkeypatch.setitem(sys.modules, "grpc", types.SimpleNamespace(RpcError=RpcError))
    beam.Beam((), "staging")._pipeline(print, ["a"], "rows")


@pytest.mark.parametrize(
    "error", [RuntimeError("a worker is lost: pickle"), RpcError("UNAVAILABLE"), ConnectionError("reset")]
)
def test_a_pipeline_that_fails_interrupts(monkeypatch: pytest.MonkeyPatch, error: Exception):
    with pytest.raises(Interrupted, match=f"{error}.*E-BEAM-PIPELINE"):
        run_pipeline(monkeypatch, error)


@pytest.mark.parametrize(
    "bug",
    [
        *(TypeError("an argument"), AttributeError("x"), KeyError("y")),
        RuntimeError("Unable to pickle fn CallableWrapperDoFn(<function f>): no"),
    ],
)
def test_a_bug_of_ours_stays_a_bug(monkeypatch: pytest.MonkeyPatch, bug: Exception):
    with pytest.raises(type(bug)):
        run_pipeline(monkeypatch, bug)


class Files:
    """Beam's filesystem, in memory."""

    def __init__(self):
        self.kept: dict[str, bytes] = {}

    def delete(self, names):
        """Removes files."""
        for name in names:
            del self.kept[name]


class Job:
    """A job of one file in a directory that `make` makes."""

    def __init__(self):
        self.file, self.directory = "a", types.SimpleNamespace(path=None, make=lambda: None)

    def moved(self, _):
        """Returns itself."""
        return self


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (TypeError("an argument"), RuntimeError),
        (InputError("bad", where="x", fix="Mend it.", code="E-SOURCE-TEXT"), InputError),
    ],
)
def test_a_bug_on_a_worker_is_not_repeated(monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception]):
    files = Files()
    monkeypatch.setattr(beam, "_files", lambda: files)
    monkeypatch.setattr(beam, "_read", lambda path: files.kept[path])
    monkeypatch.setattr(beam, "_write", files.kept.__setitem__)
    monkeypatch.setattr(pickle, "dumps", lambda value: value)
    monkeypatch.setattr(pickle, "loads", lambda value: value)

    def fails(_):
        raise raised

    files.kept["root/a.job"] = (Job(), ())
    beam._make("a", root="root", function=fails)
    staging = object.__new__(beam._Staging)
    staging.root = "root"
    with pytest.raises(seen, match=r"an argument|bad") as caught:
        staging.take(Job())
    assert type(caught.value) is seen and "root/a.answer" not in files.kept


class Options:
    """Beam's options: it knows only those that begin with `runner`."""

    def __init__(self, given: list[str]):
        self.given = [word.removeprefix("--").partition("=") for word in given]

    def get_all_options(self, drop_default: bool) -> dict[str, str]:
        """Returns the options that are known."""
        assert drop_default
        return {name: value for name, _, value in self.given if name.startswith("runner")}


def create_runner(name: str) -> None:
    """Knows one runner."""
    if name != "DirectRunner":
        raise ValueError(name)


@pytest.mark.parametrize(
    ("options", "staging", "code"),
    [
        ("runner=DirectRunner", None, "E-BEAM-STAGING"),
        ("rumner=DirectRunner", "staging", "rumner.*E-BEAM-OPTION"),
        ("runner=Direct", "staging", "Direct.*E-BEAM-OPTION"),
    ],
)
def test_options_that_beam_cannot_take(monkeypatch: pytest.MonkeyPatch, options: str, staging: str | None, code: str):
    monkeypatch.setitem(sys.modules, "apache_beam", types.ModuleType("apache_beam"))
    for name, module in (
        ("options", {}),
        ("options.pipeline_options", {"PipelineOptions": Options}),
        ("runners", {"create_runner": create_runner}),
    ):
        monkeypatch.setitem(sys.modules, f"apache_beam.{name}", types.SimpleNamespace(**module))
    with pytest.raises(InputError, match=code):
        beam.Beam.of(options, staging)
    assert beam.Beam.of("--runner=DirectRunner", "staging").options == ("--runner=DirectRunner",)


def test_beam_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match="E-BEAM-INSTALL"):
        beam.Beam.of("runner=DirectRunner", "staging")
