"""Webhooks: events in order, until the other server has them, also after a restart."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rlhf.labels.records import Label
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.serve import print_links
from rlhf.labels.webhook import SIGNATURE, Webhook, WebhookSender, signature
from rlhf.runtime.printing import plain_console
from tests.errors import raises
from tests.labels.web_server import candidates

NO_HTTP = 0  # in place of a status: an answer that is not HTTP


class Receiver:
    """A server that answers with some statuses first, then with 200."""

    def __init__(self, statuses=()):
        self.statuses, self.requests = list(statuses), []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                receiver.requests.append((status, self.headers.get(SIGNATURE), body))
                if status == NO_HTTP:
                    self.wfile.write(b"not HTTP\r\n")
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/moved")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):
                receiver.requests.append((200, None, b'{"events": []}'))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/hook"

    def delivered(self, count: int) -> list[int]:
        """Ids of the events that arrived, once there are `count`."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            ids = [
                event["id"]
                for status, _, body in self.requests
                if status == 200
                for event in json.loads(body)["events"]
            ]
            if len(ids) >= count:
                return ids
            time.sleep(0.01)
        raise AssertionError(f"{len(ids)} of {count} events arrived")


@pytest.fixture
def receive():
    receivers = []

    def make(*statuses):
        receivers.append(Receiver(statuses))
        return receivers[-1]

    yield make
    for receiver in receivers:
        receiver.http.shutdown()
        receiver.http.server_close()


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates(candidates(1))
        yield store


def submit(store, name: str) -> int:
    return store.submit(Label(item_id=1, annotator=name, ranks=[1, 2, 3, 4]))


def webhook(receiver, **options) -> Webhook:
    return Webhook(url=receiver.url, poll_seconds=0.01, first_wait=0.01, **options)


def test_new_events_arrive_signed_and_old_ones_do_not(store, receive):
    receiver = receive()
    submit(store, "before")
    sender = WebhookSender(store, webhook(receiver, secret="s3cret"))
    ids = [submit(store, "Ann"), submit(store, "Bob")]
    assert receiver.delivered(2) == ids
    sender.close()
    for _, signed, body in receiver.requests:
        assert signed == f"sha256={signature('s3cret', body)}"
    event = json.loads(receiver.requests[0][2])["events"][0]
    assert (event["kind"], event["annotator"]) == ("submit", "Ann")


def test_events_are_sent_again_until_they_arrive(store, receive, caplog):
    """Three failures: each repetition has the first event, and none is skipped."""
    receiver = receive(500, 503, 404)
    sender = WebhookSender(store, webhook(receiver))
    ids = [submit(store, name) for name in ("Ann", "Bob", "Cid")]
    assert receiver.delivered(3) == ids
    sender.close()
    failed = [json.loads(body)["events"][0]["id"] for status, _, body in receiver.requests[:3]]
    assert failed == [ids[0]] * 3
    messages = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert [message.split(";")[0] for message in messages[:3]] == [
        f"status {status}" for status in (500, 503, 404)
    ]
    assert messages[3:] == ["events arrive again"]  # once


@pytest.mark.parametrize(
    ("secret", "signed"), [("s3cret", "signed"), ("", "not signed: RLHF_WEBHOOK_SECRET is not set")]
)
def test_start_prints_where_events_go_and_whether_they_are_signed(store, capsys, secret, signed):
    hook = Webhook(url="https://example.org/hook", secret=secret)
    config = LabelServerConfig(store="labels.sqlite", webhook=hook)
    print_links(store, config, "http://127.0.0.1:8000", plain_console(soft_wrap=True))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"webhook: new events are sent to https://example.org/hook, {signed}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, NO_HTTP])
def test_redirect_or_answer_that_is_not_http_loses_no_event(store, receive, status):
    """urllib follows 301 to 303 with a GET request, which has no events and gets status 200."""
    receiver = receive(status)
    sender = WebhookSender(store, webhook(receiver))
    ids = [submit(store, "Ann")]
    assert receiver.delivered(1) == ids
    sender.close()
    assert [request[0] for request in receiver.requests] == [status, 200]


def test_events_of_a_stopped_server_are_sent_after_its_start(store, receive):
    receiver = receive()
    options = webhook(receiver)
    WebhookSender(store, options).close()
    ids = [submit(store, "Ann"), submit(store, "Bob")]
    sender = WebhookSender(store, options)
    assert receiver.delivered(2) == ids
    sender.close()
    assert store.setting(options.setting) == str(ids[-1])


def test_signature_is_hmac_sha256():
    """RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?"."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", b"what do ya want for nothing?") == expected


@pytest.mark.parametrize(
    "url",
    [
        "example.org/hook",
        "ftp://example.org",
        "http://",
        "http://example.org:no/hook",
        "http://example.org:65536/hook",
        "http://[::1/hook",
        "http://example..org/hook",
        "http://example.org/a hook",
        "http://example.org/ü",
    ],
)
def test_address_is_checked(url):
    with raises("bad-value", url):
        Webhook(url=url)
