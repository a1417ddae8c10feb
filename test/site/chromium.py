"""A headless Chromium, told what to do by the DevTools protocol over a pair of pipes.

    with Chromium() as chromium:
        tab = chromium.tab()
        tab.load("http://127.0.0.1:8000/")
        tab.evaluate("document.title")

It needs Debian's package chromium and nothing else: no driver, no port. Names of hosts other than
127.0.0.1 have no address for it.
"""
import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import time

LIMIT = 60  # seconds for one call: the machine may be busy
FLAGS = [
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check",
    "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-extensions", "--disable-sync",
    "--metrics-recording-only", "--mute-audio", "--hide-scrollbars", "--password-store=basic",
    "--force-color-profile=srgb", "--lang=en-US", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class Failure(Exception):
    """What the browser refuses, or does not answer in time."""


class Chromium:
    """The process. Its tabs may be used by different threads."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        flags = FLAGS + [f"--user-data-dir={self.directory.name}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # as root it has none
        in_read, self.to = os.pipe()
        self.back, out_write = os.pipe()
        self.log = open(os.path.join(self.directory.name, "log"), "w+b")
        # Its ends of the pipes have to be 3 and 4. Only a shell can say so without a race of threads.
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" 3<&{in_read} 4>&{out_write}', "sh", "chromium", *flags],
            pass_fds=(in_read, out_write), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.close(in_read)
        os.close(out_write)
        self.lock = threading.Lock()
        self.last = 0
        self.answers = {}  # number of a call -> the queue that gets its answer
        self.tabs = {}  # session -> tab
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (Failure, subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        self.log.close()
        self.directory.cleanup()

    def read(self):
        """Hands each message of the browser to the one for whom it is."""
        with os.fdopen(self.back, "rb") as pipe:
            rest = b""
            while data := pipe.read1(1 << 20):
                *messages, rest = (rest + data).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self.answers.pop(message["id"], queue.Queue()).put(message)
                    elif message.get("sessionId") in self.tabs:
                        self.tabs[message["sessionId"]].events.put(message)
        for answer in list(self.answers.values()):
            answer.put({"error": {"message": "it has ended: " + self.last_words()}})

    def last_words(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-500:]

    def call(self, method, session=None, **parameters):
        """Calls a method of the protocol, and returns its result."""
        answer = queue.Queue()
        with self.lock:
            self.last += 1
            self.answers[self.last] = answer
            message = {"id": self.last, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self.to, data):]
        try:
            got = answer.get(timeout=LIMIT)
        except queue.Empty:
            raise Failure(f"{method}: no answer in {LIMIT} s: {self.last_words()}") from None
        if "error" in got:
            raise Failure(f"{method}: {got['error']['message']}")
        return got["result"]

    def tab(self):
        """A new tab, with a profile of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self.tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.still()
        return tab


class Tab:
    """A tab. `errors` has what went wrong since it was emptied: exceptions of scripts, complaints
    in the console, what could not be loaded, and what was asked of another host."""

    def __init__(self, chromium, session):
        self.chromium, self.session = chromium, session
        self.events = queue.Queue()
        self.errors = []
        self.host = None

    def call(self, method, **parameters):
        return self.chromium.call(method, self.session, **parameters)

    def load(self, url):
        """Loads a page, with all that belongs to it."""
        self.host = url.split("/")[2]
        said = self.call("Page.navigate", url=url)
        if said.get("errorText"):
            raise Failure(f"{url}: {said['errorText']}")
        if "loaderId" in said:
            self.wait_for("Page.loadEventFired")

    def wait_for(self, method):
        """Waits until the browser says so, and looks at what else it says."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                event = self.events.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise Failure(f"no {method} in {LIMIT} s") from None
            self.note(event)
            if event["method"] == method:
                return

    def note(self, event):
        """Keeps what is an error."""
        method, what = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.errors.append("script: " + details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            words = " ".join(str(a.get("value", a.get("description"))) for a in what["args"])
            self.errors.append(f"console: {words}")
        elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"log: {what['entry']['text']} {what['entry'].get('url', '')}".rstrip())
        elif method == "Network.requestWillBeSent":
            url = what["request"]["url"]
            if url.startswith(("http:", "https:", "ws")) and url.split("/")[2] != self.host:
                self.errors.append(f"asks another host: {url}")

    def take_errors(self):
        """What went wrong since the last call."""
        while True:
            try:
                self.note(self.events.get_nowait())
            except queue.Empty:
                break
        errors, self.errors = self.errors, []
        return errors

    def evaluate(self, script):
        """The value of an expression in the page; of a promise, when it has come."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise Failure(said["exceptionDetails"].get("exception", {}).get("description", script))
        return said["result"].get("value")

    def wait_until(self, script):
        """Waits until an expression is true, also on the page that comes next."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                if self.evaluate(script):
                    return
            except Failure as failure:
                if not re.search("navigated|context", str(failure)):
                    raise
            if time.monotonic() > end:
                raise Failure(f"in {LIMIT} s there was no: {script}")
            time.sleep(0.05)

    def resize(self, width, height=900):
        """The page as on a screen of that width, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)

    def still(self):
        """From now on nothing on the page moves by itself."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        self.call("Page.addScriptToEvaluateOnNewDocument", source="""
            addEventListener("DOMContentLoaded", () => {
                const style = document.createElement("style");
                style.textContent = "* { transition: none !important; animation: none !important }";
                document.head.append(style);
            })""")

    def picture(self, height=None):
        """What the page looks like from its beginning to that height, or to its end: a PNG in
        base 64."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or 1e9),
                "scale": 1}
        return self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
