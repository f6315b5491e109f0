"""A real browser for tests: chromium without a window, spoken to through a pipe (--remote-debugging-pipe).

    python3 -m tests.browser.chromium

says whether there is one that starts. Any Python that jaxbert supports runs it: nothing need be installed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Seconds after which a browser that says nothing is taken for dead.
PATIENCE_S = 120.0
# Pixels of a telephone, a tablet and a laptop.
WIDTHS = (400, 768, 1280)
# What is wider than the window, but for what scrolls inside its box or is hidden from sight.
_OUTSIDE = """
[...document.querySelectorAll("html, body, body *")].filter(one => {
  const box = one.getBoundingClientRect();
  const hidden = one.closest(".table, .skip, .hidden, .uplot, .try-words thead");
  if (one.tagName == "HTML" && one.scrollWidth > innerWidth) return true;
  return box.width > 0 && box.right > innerWidth + 1 && !hidden;
}).map(one => one.outerHTML.slice(0, 120))
"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Returns the path of a browser on this machine."""
    return os.environ.get("JAXBERT_CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A tab. `errors` has what its scripts threw or logged as errors, `fetched` every address that it asked for."""

    def __init__(self, browser: Browser, session: str):
        self._browser, self._session = browser, session
        self.errors: list[str] = []
        self.fetched: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, params, self._session)

    def open(self, path: Path) -> None:
        self.navigate(path)
        self.settle()

    def navigate(self, path: Path) -> None:
        """Returns when the page is loaded. Scripts may be off."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._browser.wait_for("Page.loadEventFired", self._session)

    def settle(self) -> None:
        """Waits for two frames, so that charts have been drawn again."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")

    def run(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def size(self, width: int, height: int = 900, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        self.settle()

    def outside(self) -> list[str]:
        """Returns the beginnings of the elements that are wider than the window, and of the page if it scrolls."""
        found: list[str] = self.run(_OUTSIDE)
        return found

    def offline(self) -> None:
        """Switches the network off for this tab."""
        self.call("Network.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def scheme(self, name: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])
        self.settle()

    def mouse(self, kind: str, x: float, y: float, clicks: int = 0) -> None:
        button = "none" if kind == "mouseMoved" and not clicks else "left"
        buttons = 1 if clicks and kind != "mouseReleased" else 0
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=max(1, clicks)
        )

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def picture(self, path: Path, height: int | None = None) -> None:
        """Writes a PNG of the page from its top, `height` pixels high; None takes the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        found = self.call(
            "Page.printToPDF", printBackground=True, preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69
        )
        path.write_bytes(base64.b64decode(found["data"]))


class Browser:
    """A running chromium."""

    def __init__(self, program: str, folder: str, *options: str):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def pipes() -> None:  # The browser reads from file 3 and writes to file 4.
            first, second = os.dup(to_read), os.dup(to_write)
            os.dup2(first, 3)
            os.dup2(second, 4)

        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += ["--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={folder}", *options]
        self._process = subprocess.Popen(
            command,
            preexec_fn=pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest = 0, b""
        self._events: list[dict[str, Any]] = []
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._pages[session] = Page(self, session)
        return self._pages[session]

    def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return found["result"]

    def wait_for(self, event: str, session: str) -> None:
        def came() -> bool:
            return any(one["method"] == event and one.get("sessionId") == session for one in self._events)

        while not came():
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], PATIENCE_S)[0], "the browser does not answer"
            more = os.read(self._read, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        if "method" in found:
            self._events.append(found)
            page, params = self._pages.get(found.get("sessionId", "")), found["params"]
            if page and found["method"] == "Runtime.exceptionThrown":
                page.errors.append(json.dumps(params["exceptionDetails"])[:2000])
            elif page and found["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                page.errors.append(params["entry"]["text"])
            elif page and found["method"] == "Network.requestWillBeSent":
                page.fetched.append(params["request"]["url"])
        return found

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)


@contextmanager
def browser(program: str, *options: str) -> Iterator[Browser]:
    """Gives a browser with an empty profile, and ends it."""
    folder = tempfile.mkdtemp(prefix="jaxbert-browser-")
    running = Browser(program, folder, *options)
    try:
        yield running
    finally:
        running.close()
        for _ in range(5):  # Its last processes may still write.
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                break
            time.sleep(0.2)


def starts(program: str | None) -> bool:
    """Returns whether there is a program, and it says its version. Some systems have one that only installs another."""
    try:
        return (
            program is not None
            and subprocess.run([program, "--version"], capture_output=True, timeout=60).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    name = find()
    if not starts(name):
        sys.exit(f"no browser starts here ({name or ', '.join(NAMES)})")
    print(name)
