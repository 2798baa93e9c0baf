"""A headless Chromium, driven through its DevTools protocol with tornado's WebSocket client (distributed needs tornado)."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Seconds after which a page that does not answer is given up; machines are shared.
_PATIENCE = 60


class Page:
    """One page: open it, ask it, press keys, and look at it. Collects what its console says."""

    def __init__(self, socket: WebSocketClientConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop, self._id = socket, loop, 0
        #: Errors and warnings of the console, uncaught exceptions, refused or failed loads.
        self.complaints: list[str] = []
        #: Addresses that the page asked for.
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), _PATIENCE))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        await self._socket.write_message(json.dumps({"id": self._id, "method": method, "params": parameters}))
        while True:
            text = await self._socket.read_message()
            assert text is not None, "the browser closed the connection"
            message = json.loads(text)
            if message.get("id") == self._id:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, said = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
            self.complaints.append(str([a.get("value", a.get("description")) for a in said["args"]]))
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + _PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < end, f"{expression} did not come true; the page said {self.complaints}"
            time.sleep(0.05)

    def press(self, key: str, text: str | None = None) -> None:
        """Press and release a key by its DOM name; ``text`` is what it types."""
        typed = {} if text is None else {"text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send a mouse event: mouseMoved, mousePressed, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def screenshot(self) -> bytes:
        """Return what the window shows as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def find_browser() -> str:
    """Path of a Chromium; the test is skipped where there is none."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no headless browser: install chromium (looked for {', '.join(_NAMES)})")
    return path


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """Start a headless Chromium with its profile in ``folder`` and yield its page."""
    command = [find_browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--hide-scrollbars", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        loop = asyncio.new_event_loop()
        try:
            port = _port(folder, process)
            with urlopen(Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"), timeout=30) as reply:
                address = json.load(reply)["webSocketDebuggerUrl"]

            async def connect() -> WebSocketClientConnection:
                return await websocket_connect(address, max_message_size=1 << 28)

            socket = loop.run_until_complete(asyncio.wait_for(connect(), _PATIENCE))
            yield Page(socket, loop)
            socket.close()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            loop.run_until_complete(asyncio.sleep(0.05))
            loop.close()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """Port of the DevTools protocol, which the browser writes into its profile when it is ready."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        file = folder / "DevToolsActivePort"
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    pytest.skip(f"the headless browser does not start here (status {process.poll()})")
