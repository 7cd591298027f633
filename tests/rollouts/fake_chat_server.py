"""An OpenAI-compatible server that repeats the question after the model's name."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAMES = ("first", "second", "x", "y")


class FakeChatServer:
    """Answers `MODEL: QUESTION`, after some statuses, or with a fixed answer.

    Args:
        statuses: of the first responses; then 200.
        answer: the whole JSON in place of a response.
        message: further fields of a response's message.
        choice: further fields of a response, next to its message.
        usage: of a response.
        list_status: of the list of models.
        listing: the whole JSON in place of the list of models.
    """

    def __init__(
        self,
        statuses=(),
        answer=None,
        message=None,
        choice=None,
        usage=None,
        list_status=200,
        listing=None,
    ):
        self.statuses, self.answer, self.asked = list(statuses), answer, []
        self.list_status = list_status
        self.listing = {"data": [{"id": name} for name in NAMES]} if listing is None else listing
        self.message, self.choice, self.usage = message or {}, choice or {}, usage
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def respond(self, content):
        if self.answer is not None:
            return self.answer
        text = f"{content['model']}: {content['messages'][-1]['content']}"
        message = {"role": "assistant", "content": text} | self.message
        choice = {"index": 0, "message": message, "finish_reason": "stop"} | self.choice
        usage = self.usage or {"completion_tokens": len(message["content"].split()) + 1}
        return {"choices": [choice], "usage": usage}


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(server.list_status, server.listing)

        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.headers.get("Authorization"), content))
            status = server.statuses.pop(0) if server.statuses else 200
            self._send(status, server.respond(content))

        def _send(self, status, content):
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words):
            pass

    return Handler
