"""Kept programs: a damaged one is never loaded, whatever is wrong with it."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax._src import compilation_cache

from jaxbert.commands import main as cli
from jaxbert.core import compiled


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """A folder in which jax keeps programs, through the layer that commands install."""
    before = jax.config.jax_compilation_cache_dir
    compiled.verify_kept_programs()
    place = tmp_path / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(place))
    compilation_cache.reset_cache()
    yield place
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def ones_times(number: float) -> Any:
    """Compiles a program that no other test has, or loads it, and returns what it computes."""
    jax.clear_caches()
    return jax.jit(lambda x: (x * number).sum() + 0.125)(jnp.ones(7)).item()


def entry(place: Path, number: float) -> Path:
    """The file of the program of `ones_times`."""
    before = set(place.glob("*-cache"))
    assert ones_times(number) == 7 * number + 0.125
    (found,) = [path for path in set(place.glob("*-cache")) - before if "lambda" in path.name]
    return found


def key(file: Path) -> str:
    return file.name.removesuffix(f"-{compiled.processor()}-cache")


def flipped(bit: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    return change


def test_every_flipped_bit_is_found(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    """130 bits of an entry, from its first to its last: jax gets nothing, and the file goes."""
    file = entry(kept, 3.0)
    content = file.read_bytes()
    opened, _ = compilation_cache.get_file_cache(str(kept))  # type: ignore[misc]
    assert opened.get(key(file)) == content[compiled._HEADER :]
    bits = 8 * len(content)
    for number in range(130):
        file.write_bytes(flipped(number * (bits - 1) // 129)(content))
        with caplog.at_level(logging.WARNING):
            assert opened.get(key(file)) is None and not file.exists()
        assert str(file) in caplog.messages.pop()


def test_a_damaged_program_is_compiled_anew(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, other = entry(kept, 5.0), entry(kept, 6.0)
    whole, another = file.read_bytes(), other.read_bytes()
    damage: dict[str, Callable[[bytes], bytes]] = {
        "a bit in the middle": flipped(4 * len(whole)),
        "half a file": lambda content: content[: len(content) // 2],
        "an empty file": lambda _: b"",
        "another program": lambda _: another,
        "a file of jax without a checksum": lambda content: content[compiled._HEADER :],
    }
    for name, change in damage.items():
        file.write_bytes(change(whole))
        with caplog.at_level(logging.WARNING):
            assert ones_times(5.0) == 35.125, name
        assert [line for line in caplog.messages if file.name in line], name
        caplog.clear()
        # A good program is there again. It is loaded without a warning, and it is not written again.
        written = file.read_bytes()
        assert compiled._content(file.name.removesuffix("-cache"), written) is not None, name
        assert ones_times(5.0) == 35.125 and file.read_bytes() == written and not caplog.messages, name


def test_another_processor_has_its_own_programs(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = entry(kept, 9.0)
    content = file.read_bytes()
    monkeypatch.setattr(compiled, "_processor", lambda: "0" * 8)
    assert ones_times(9.0) == 63.125
    assert (kept / f"{key(file)}-00000000-cache").is_file() and file.read_bytes() == content


def test_the_features_of_the_processor_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        return compiled.processor()

    monkeypatch.setattr(compiled, "Path", lambda _: tmp_path / "cpuinfo")
    text = "model name : A\ncpu MHz : 1000.5\nflags : fpu avx2\n"
    assert of(text) == of(text.replace("1000.5", "3000.1")) == of(text * 2)
    assert len({of(text), of(text.replace("avx2", "avx512")), of(text.replace("A", "B")), of("")}) == 4


def test_every_command_that_computes_verifies() -> None:
    for name in cli.COMPUTING:
        file = cli.COMMANDS[name].__file__
        assert file is not None
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        (run,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
        called = [ast.unparse(node.func) for node in ast.walk(run) if isinstance(node, ast.Call)]
        assert "verify_kept_programs" in called, name
