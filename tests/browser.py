"""A headless Chromium, driven by its own protocol: no driver program, no library but tornado."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
LARGEST = 64 << 20
"""Bytes of a message: a page with its pictures."""


def found() -> str | None:
    """The browser of this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def wait_for(what: str, ready: Any, seconds: float = 60) -> Any:
    """Ask again and again until the answer is true; say what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ready()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:g} s for {what}")


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """Run a program with all its children, and end them."""
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for signal in (15, 9):
                try:
                    os.killpg(process.pid, signal)
                    process.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


class Page:
    """A page of the browser, asked one thing after the other.

    Parameters
    ----------
    loop : event loop
    socket : websocket connection
        Of the page.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self.loop, self.socket, self.number = loop, socket, 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return what it answers."""
        self.number += 1
        return self.loop.run_until_complete(self._send(self.number, method, parameters))

    async def _send(self, number: int, method: str, parameters: dict) -> dict[str, Any]:
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.write_message(json.dumps(message))
        while True:
            text = await asyncio.wait_for(self.socket.read_message(), 60)
            assert text is not None, "the page was closed"
            answer = json.loads(text)
            if answer.get("id") == number:  # all others are events
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )


async def _connected(url: str) -> WebSocketClientConnection:
    request = HTTPRequest(url, request_timeout=20)
    return await websocket_connect(request, max_message_size=LARGEST)


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Page]:
    """Open a page in a new browser without a window, whose profile is a folder of its own."""
    program = found()
    assert program is not None
    profile = folder / "profile"
    command = [
        *(program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,4000"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # root has none; the page is our own
        "about:blank",
    ]
    with running(command, folder) as process:
        port = profile / "DevToolsActivePort"
        wait_for(
            "the browser", lambda: process.poll() is None and port.exists() and port.read_text()
        )
        number = port.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json", timeout=20) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        loop = asyncio.new_event_loop()
        try:
            socket = loop.run_until_complete(_connected(pages[0]["webSocketDebuggerUrl"]))
            page = Page(loop, socket)
            page.send("Page.enable")
            page.send("Emulation.setFocusEmulationEnabled", enabled=True)  # no window has a focus
            page.send("Page.navigate", url=url)
            yield page
            socket.close()
            loop.run_until_complete(asyncio.sleep(0.1))
        finally:
            loop.close()
