"""A server on a thread that scores by a function of the request, right or deliberately wrong."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FakeRewardServer:
    """What it answers, and what it was asked.

    answer: (status, JSON) of (path, content); content is None for a GET request.
    """

    answer: Callable[[str, object], tuple[int, object]]
    delay: float = 0.0  # seconds before each answer
    retry_after: str | None = None  # header of error answers
    asked: list[tuple[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)  # Authorization headers
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        self._at_once = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def handle(self, path, content, key):
        with self.lock:
            self.asked.append((path, content))
            self.keys.append(key)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay)
            return self.answer(path, content)
        finally:
            with self.lock:
                self._at_once -= 1

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, content):
            status, answer = server.handle(self.path, content, self.headers.get("Authorization"))
            text = json.dumps(answer).encode()
            self.send_response(status)
            if status >= 400 and server.retry_after is not None:
                self.send_header("Retry-After", server.retry_after)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words):
            pass

    return Handler
