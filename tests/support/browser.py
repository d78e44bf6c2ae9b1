"""Debian's Chromium without a window, driven by the DevTools protocol over a pipe."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium")
_OPTIONS: Final = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--autoplay-policy=no-user-gesture-required", "--window-size=1200,800",
)  # fmt: skip


class Page:
    """A page of the browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._numbers = itertools.count(1)
        self._pending = b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])

    def open(self, url: str) -> None:
        """Go to a URL; does not wait until it is shown."""
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the JSON value of a script."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str, seconds: float = 90) -> Any:
        """Return the value of a script as soon as it is true; fails the test after `seconds`."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, f"not so after {seconds} s: {script}"
            time.sleep(0.5)
        return value

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            pass  # events
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            chunk = os.read(self._reading, 1 << 20)
            assert chunk, "the browser has ended"
            self._pending += chunk
        message, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Run Chromium with a new profile."""
    assert CHROMIUM is not None
    commands, results = os.pipe(), os.pipe()
    inner = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (commands[0], results[1])]

    def connect() -> None:
        os.dup2(inner[0], 3)
        os.dup2(inner[1], 4)

    process = subprocess.Popen(  # the pipe of the protocol is at descriptors 3 and 4
        [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe"],
        preexec_fn=connect,  # noqa: PLW1509 - nothing else runs in threads here
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for fd in (commands[0], results[1], *inner):
        os.close(fd)
    try:
        yield Page(results[0], commands[1])
    finally:
        process.kill()
        process.wait()
        os.close(results[0])
        os.close(commands[1])
