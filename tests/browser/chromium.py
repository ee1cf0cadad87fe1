"""A headless Chromium, driven by ChromeDriver in the W3C WebDriver protocol."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # in a container, as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars=false",
    "--force-color-profile=srgb",
)
# The protocol's code points for keys that write nothing.
_KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "End": "\ue010",
    "Home": "\ue011",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}
_ANSWER_WITHIN = 60.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Chromium:
    """One browser window.

    Args:
        session: The WebDriver session's address.
    """

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Load a file, and wait until it has loaded."""
        self._post("url", url=page.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page, and return what it returns."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run a function's body that calls its last argument when it is done."""
        return self._post("execute/async", script=script, args=list(arguments))

    def resize(self, width: int, height: int) -> None:
        """Set the page's size, in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=name, params=parameters)

    def screenshot(self, to: Path) -> None:
        """Write what is seen as a PNG file."""
        to.write_bytes(base64.b64decode(self._get("screenshot")))

    def click(self, selector: str) -> None:
        """Click an element as a person would: it must be visible and not covered."""
        found = self._post("element", using="css selector", value=selector)
        self._post(f"element/{found[_ELEMENT]}/click")

    def keys(self, *keys: str) -> None:
        """Press keys one after the other, on what has the focus: characters, or a key's name."""
        codes = [_KEYS.get(key, key) for key in keys]
        actions = [{"type": kind, "value": key} for key in codes for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a point of the page."""
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def log(self) -> list[str]:
        """What the console has said since the last call: errors, refused requests."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def _post(self, path: str, **body: Any) -> Any:
        return _call(f"{self._session}/{path}", body)

    def _get(self, path: str) -> Any:
        return _call(f"{self._session}/{path}", None)


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Start a browser, and stop it at the end.

    Args:
        profile: An empty directory for the browser's profile.
    """
    assert BROWSER
    assert DRIVER
    port = _free_port()
    driver = subprocess.Popen(  # the machine's own ChromeDriver
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    session = None
    try:
        _wait_until_ready(base, driver)
        options = {
            "binary": BROWSER,
            "args": [*_ARGUMENTS, f"--user-data-dir={profile}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = _call(f"{base}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"{base}/session/{made['sessionId']}"
        yield Chromium(session)
    finally:
        if session is not None:
            _call(session, None, method="DELETE")
        driver.terminate()
        driver.wait(timeout=10)


def _wait_until_ready(base: str, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            if _call(f"{base}/status", None)["ready"]:
                return
        except (OSError, urllib.error.URLError):
            if driver.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _call(url: str, body: dict[str, Any] | None, *, method: str | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  # always http to this machine
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    # Never through a proxy: the driver is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ANSWER_WITHIN) as answer:
            return json.loads(answer.read())["value"]
    except urllib.error.HTTPError as error:
        said = json.loads(error.read())["value"]
        raise AssertionError(f"{url}: {said['error']}: {said['message']}") from error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
