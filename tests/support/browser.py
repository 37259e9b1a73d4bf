"""A headless Chromium, driven through chromedriver by the plain WebDriver protocol
(https://www.w3.org/TR/webdriver2/).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.harness import DEADLINE, environment

MISSING = shutil.which("chromium") is None or shutil.which("chromedriver") is None
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip

TAB, ENTER = "\ue004", "\ue007"

# Resolves at the change of the document that makes the condition true: nothing is polled.
_UNTIL = """
const done = arguments[arguments.length - 1];
const holds = () => %s;
const look = () => { if (holds()) { observer.disconnect(); done(true); } };
const observer = new MutationObserver(look);
observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
look();
"""


class Browser:
    """One browser with one window, and a profile of its own in a directory with a short name, since
    it puts a unix socket there.
    """

    def __init__(self, *, width: int = 1280, height: int = 900) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        directory = Path(self._home.name)
        port = self._start_driver(directory)
        self._url = f"http://127.0.0.1:{port}/session"
        window = [f"--window-size={width},{height}", f"--user-data-dir={directory / 'profile'}"]
        options = {"args": [*_ARGUMENTS, *window], "binary": shutil.which("chromium")}
        logging = {"goog:loggingPrefs": {"browser": "ALL"}}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, **logging}
        session = self._call("", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/{session['sessionId']}"
        self._call("/timeouts", {"script": DEADLINE * 1000})

    def _start_driver(self, directory: Path) -> str:
        """Start chromedriver; return its port. The free one that it finds may be another's by the
        time that it binds it, and then it ends: it is started once more.
        """
        for _ in range(5):
            self._driver = subprocess.Popen(
                ["chromedriver", "--port=0"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment({"HOME": str(directory), "TMPDIR": str(directory)}),
                start_new_session=True,
            )
            assert self._driver.stdout is not None
            for line in self._driver.stdout:
                if found := re.search(r"successfully on port (\d+)", line):
                    return found[1]
            self._driver.wait()
        raise AssertionError("chromedriver does not start")

    def open(self, url: str) -> None:
        """Go to a page."""
        self._call("/url", {"url": url})

    def run(self, script: str) -> Any:
        """Return what a JavaScript expression says."""
        return self._call("/execute/sync", {"script": f"return {script}", "args": []})

    def until(self, condition: str) -> None:
        """Wait for the change of the page that makes a JavaScript condition true."""
        self._call("/execute/async", {"script": _UNTIL % condition, "args": []})

    def load(self, script: str) -> None:
        """Run a whole script, which no policy of the page forbids to us."""
        self._call("/execute/sync", {"script": script, "args": []})

    def press(self, key: str) -> None:
        """Press and release a key, by its code point in the protocol (section 17.4.2)."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        said: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return said

    def colours(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def size(self, width: int, height: int) -> None:
        """Show the page on a screen of so many CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Call one command of the Chrome DevTools protocol."""
        return self._call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def complaints(self) -> list[str]:
        """The messages on the browser's console, above all of what the page's policy blocked."""
        return [entry["message"] for entry in self._call("/se/log", {"type": "browser"})]

    def screenshot(self, file: Path) -> None:
        """Save the whole page, also what lies below the window."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            urllib.request.urlopen(
                urllib.request.Request(self._url, method="DELETE"), timeout=DEADLINE
            ).close()
        finally:
            os.killpg(self._driver.pid, signal.SIGTERM)
            self._driver.communicate(timeout=DEADLINE)
            self._home.cleanup()

    def _call(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self._url + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE * 2) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
