"""Streamed JSON: events up to [DONE], answers that break off, readers that leave early."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlhf.runtime.http import Rejected, Unreachable, stream_json

EVENTS = [b'data: {"n": 1}\n\n', b": still here\n\n", b'data: {"n": 2}\n\n', b"data: [DONE]\n\n"]


@pytest.fixture
def serve():
    servers = []

    def make(lines=(), status=200, seconds=0.0):
        class Handler(BaseHTTPRequestHandler):
            left = 0  # readers that closed their connection

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                try:
                    for line in lines:
                        self.wfile.write(line)
                        time.sleep(seconds)
                except OSError:
                    Handler.left += 1

            def log_message(self, *words):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", Handler

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_events_are_read_up_to_the_end_mark(serve):
    address, _ = serve([*EVENTS, b'data: {"n": 3}\n\n'])
    assert list(stream_json(address, {}, timeout=9)) == [{"n": 1}, {"n": 2}]


def test_answer_without_the_end_mark_broke_off(serve):
    address, _ = serve(EVENTS[:3])
    events = stream_json(address, {}, timeout=9)
    assert [next(events), next(events)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(Unreachable, match="broke off"):
        next(events)


def test_closed_iterator_closes_the_connection(serve):
    address, handler = serve(EVENTS[:1] * 200, seconds=0.02)
    events = stream_json(address, {}, timeout=9)
    next(events)
    events.close()
    end = time.monotonic() + 9
    while not handler.left:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_error_status_is_rejected_and_a_slow_server_is_lost(serve):
    address, _ = serve(status=429)
    with pytest.raises(Rejected, match="429"):
        next(stream_json(address, {}, timeout=9))
    address, _ = serve(EVENTS, seconds=0.5)
    with pytest.raises(Unreachable) as lost:
        list(stream_json(address, {}, timeout=0.1))
    assert lost.value.timed_out
