"""A browser that tests drive as a person would: it finds things by what a screen reader calls them.

It is Chromium, over its DevTools protocol.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websocket import create_connection

Place = tuple[float, float]
NAMES = "chromium", "chromium-browser", "google-chrome"
# What is shown is our own: it needs no sandbox, which many a machine doesn't allow, and no process
# for each site. That, and no pages kept to go back to, saves a quarter of the work.
OPTIONS = """
    --headless=new --remote-debugging-port=0 --no-first-run --hide-scrollbars --disable-extensions
    --disable-background-networking --disable-component-update --disable-dev-shm-usage
    --disable-gpu --in-process-gpu --no-sandbox --no-zygote
    --process-per-site --renderer-process-limit=1 --disable-site-isolation-trials
    --disable-features=BackForwardCache,RenderDocument,SpareRendererForSitePerProcess
"""
LONGEST = 15  # seconds that anything may take
KEYS = {"Enter": 13, "Escape": 27, "Home": 36}  # that write nothing, by their codes
IMAGES = """Promise.all([...document.images].map((each) => {
  each.loading = "eager";
  return each.decode().catch(() => {});
}))"""
POINT = """function(across, down) {
  this.scrollIntoView({ block: "center", inline: "center" });
  const box = this.getBoundingClientRect();
  const [x, y] = [box.x + box.width * across, box.y + box.height * down];
  return this.contains(document.elementFromPoint(x, y)) && [x, y];
}"""


def found_browser() -> str | None:
    """Give the path of a Chromium: of the one in CHROMIUM, or of what is installed."""
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else NAMES
    return next((path for name in names if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """What was asked of the browser didn't happen."""


class Tab:
    """A tab of a browser: what is done in it, and what went wrong in it, in `problems`."""

    def __init__(self, address: str) -> None:
        self._socket = create_connection(address, timeout=LONGEST, suppress_origin=True)
        self._asked, self._loaded, self._held, self.problems = 0, 0, False, list[str]()
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command of the protocol, and give its answer."""
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": params}))
        while (told := json.loads(self._socket.recv())).get("id") != self._asked:
            self._note(told.get("method"), told.get("params"))
        if "error" in told:
            raise BrowserError(f"{method}: {told['error']['message']}")
        return told["result"]

    def _note(self, method: str, params: Any) -> None:
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.problems.append(str([each.get("value") for each in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            # Among them violations of a Content-Security-Policy, and what isn't found.
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def wait(self, happened: Callable[[], Any] | str) -> Any:
        """Wait until a function, or an expression of JavaScript, gives what is true."""
        asked = happened if callable(happened) else lambda: self.evaluate(happened)
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            try:
                if found := asked():
                    return found
            except BrowserError as error:
                happened = error  # between two pages there is none to ask
            time.sleep(0.02)
        raise BrowserError(f"In {LONGEST} s it didn't happen: {happened}\n{self.text()[:2000]}")

    def goto(self, url: str) -> None:
        """Open an address, and wait until it is loaded."""
        self.leave(lambda: self.ask("Page.navigate", url=url))

    def leave(self, action: Callable[[], Any]) -> None:
        """Do what opens another page, and wait until that is loaded."""
        before = self._loaded
        action()
        self.wait(lambda: self.evaluate("document.readyState") and self._loaded > before)

    def evaluate(self, expression: str) -> Any:
        """Give the value of an expression of JavaScript."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        told = self.ask("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in told:
            raise BrowserError(told["exceptionDetails"]["exception"]["description"])
        return told["result"].get("value")

    @contextmanager
    def script(self, source: str) -> Iterator[None]:
        """Run a script in each page that is loaded meanwhile, before the page's own."""
        added = self.ask("Page.addScriptToEvaluateOnNewDocument", source=source)
        try:
            yield
        finally:
            self.ask("Page.removeScriptToEvaluateOnNewDocument", **added)

    def call(self, node: int, function: str, *arguments: Any) -> Any:
        """Call a function of JavaScript with an element as `this`."""
        element = self.ask("DOM.resolveNode", backendNodeId=node)["object"]["objectId"]
        given = [{"value": each} for each in arguments]
        options = {"objectId": element, "returnByValue": True, "arguments": given}
        told = self.ask("Runtime.callFunctionOn", functionDeclaration=function, **options)
        return told["result"].get("value")

    def all(self, role: str, name: str | None = None) -> list[Any]:
        """Find the elements with a role and a whole accessible name, as shown now."""
        root = self.ask("DOM.getDocument", depth=0)["root"]["backendNodeId"]
        named = {} if name is None else {"accessibleName": name}
        asked = self.ask("Accessibility.queryAXTree", backendNodeId=root, role=role, **named)
        return [each for each in asked["nodes"] if not each["ignored"]]

    def names(self, role: str) -> list[str]:
        """Give the accessible names of all elements with a role."""
        return [each["name"]["value"] for each in self.all(role)]

    def find(self, role: str, name: str | None = None) -> int:
        """Wait for an element: the first one with a role and an accessible name."""
        found = self.wait(lambda: self.all(role, name) or self._missing(role, name))
        return found[0]["backendDOMNodeId"]

    def _missing(self, role: str, name: str | None) -> None:
        raise BrowserError(f"there is no {role} {name!r}")

    def text(self, role: str = "", name: str | None = None) -> str:
        """Give what a person reads in an element, or on the page."""
        if not role:
            return self.evaluate("document.body?.innerText ?? ''")
        return self.call(self.find(role, name), "function() { return this.innerText }")

    def point(self, role: str, name: str | None, across: float = 0.5, down: float = 0.5) -> Any:
        """Move the mouse to an element, as soon as nothing covers it: to its middle, or a part."""
        place = self.wait(lambda: self.call(self.find(role, name), POINT, across, down))
        self.mouse("mouseMoved", place)
        return place

    def click(self, role: str, name: str | None = None, count: int = 1) -> None:
        """Click an element, once or more often."""
        place = self.point(role, name)
        for number in range(1, count + 1):
            self.mouse("mousePressed", place, clickCount=number)
            self.mouse("mouseReleased", place, clickCount=number)

    def drag(self, role: str, name: str, start: Place, end: Place) -> None:
        """Drag from one part of an element to another one."""
        begun = self.point(role, name, *start)
        self.mouse("mousePressed", begun, clickCount=1)
        self.mouse("mouseReleased", self.point(role, name, *end), clickCount=1)

    def follow(self, role: str, name: str | None = None) -> None:
        """Click what opens another page."""
        self.leave(lambda: self.click(role, name))

    def mouse(self, kind: str, place: Place, **options: Any) -> None:
        """Send an event of the mouse, and of its left button if that is held."""
        x, y = place
        held = {"button": "left", "buttons": 1} if self._held or kind == "mousePressed" else {}
        self._held = kind == "mousePressed" or (self._held and kind != "mouseReleased")
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held, **options)

    def keys(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            told = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, 0)}
            text = {"Enter": "\r"}.get(key, "" if key in KEYS else key)
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text: str) -> None:
        """Type a text where the cursor is, in place of what is selected."""
        self.ask("Input.insertText", text=text)

    def looks(self, width: int, scheme: str) -> None:
        """Be as wide as a window or a telephone is, and light or dark."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, file: Path) -> None:
        """Write the page as an image, all of it, when its own images have come."""
        self.evaluate(IMAGES)
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(b64decode(told["data"]))


@contextmanager
def browser(path: str, downloads: Path) -> Iterator[Tab]:
    """Start a browser without a window, and give its tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [path, *OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with closing(Tab(_address(Path(profile, "DevToolsActivePort")))) as tab:
                behavior = {"behavior": "allow", "downloadPath": str(downloads)}
                tab.ask("Browser.setDownloadBehavior", **behavior)
                yield tab
        finally:
            process.terminate()
            process.wait()


def _address(written: Path) -> str:
    """Wait until a browser listens, and give the address of its tab."""
    until = time.monotonic() + 4 * LONGEST
    while time.monotonic() < until:
        with suppress(OSError, IndexError, StopIteration):
            port = written.read_text().splitlines()[0]
            with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = json.load(answer)
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        time.sleep(0.05)
    raise BrowserError("The browser didn't start.")
