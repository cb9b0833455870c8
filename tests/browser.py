"""A headless Chromium, spoken to over its pipes (--remote-debugging-pipe: JSON, each message ended
by a NUL).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
import typing
from pathlib import Path

_PATIENCE = 60.0  # seconds for an answer


class Browser:
    """One page of *width* x *height*; what its console and its exceptions say is kept in
    *complaints*.
    """

    def __init__(self, folder: Path, width: int, height: int, *options: str) -> None:
        to_us, from_us = os.pipe(), os.pipe()
        self._rest = b""
        self._number = 0
        self.complaints: list[str] = []

        def connect() -> None:  # it reads from 3 and writes to 4
            high = [os.dup2(from_us[0], 100), os.dup2(to_us[1], 101)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--remote-debugging-pipe",
                f"--user-data-dir={folder}/profile", f"--window-size={width},{height}",
                *options, "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=connect,
            pass_fds=(3, 4),
        )  # fmt: skip
        os.close(from_us[0])
        os.close(to_us[1])
        self._reads, self._writes = to_us[0], from_us[1]
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session: str | None = None
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    _session: str | None = None

    def ask(self, method: str, **params: typing.Any) -> dict[str, typing.Any]:
        """Call *method*; its result."""
        self._number += 1
        message: dict[str, typing.Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, typing.Any] = said["result"]
                return result

    def _hear(self) -> dict[str, typing.Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._reads, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, typing.Any] = json.loads(line)
        if said.get("method") in (
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
        ):
            self.complaints.append(json.dumps(said["params"]))
        return said

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        while self.run("document.readyState") != "complete" or self.run("location.href") != url:
            time.sleep(0.02)

    def run(self, script: str) -> typing.Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def key(self, key: str) -> None:
        """Press and release one."""
        more = (
            {"text": key}
            if len(key) == 1
            else {
                "windowsVirtualKeyCode": {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}[
                    key
                ]
            }
        )
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **more)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        try:
            os.write(self._writes, b'{"id": 0, "method": "Browser.close"}\0')
            self._process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._reads)
        os.close(self._writes)
