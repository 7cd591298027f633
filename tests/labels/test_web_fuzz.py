"""Whatever is sent, by whomever: no route answers with an error of the server's own.

Requests are made up by schemathesis from the app's own OpenAPI document, fitting and not; what is
no JSON at all, or no HTTP header that a browser would send, is added by hand.
"""

import socket

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.live_sampling import LiveSource
from tests.labels.test_web_api import OPEN_ROUTES, ROUTES
from tests.labels.web_server import pairs_and_more, serving

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
requests = pytest.importorskip("requests", reason="needs requests")

SECONDS = 120.0  # for an answer, on a machine that has much else to do
OPERATIONS = [
    (method, path.replace("/rankings", "/{kind}")) for method, path in [*ROUTES, *OPEN_ROUTES]
]
FORM = '{"claim": 1, "key": "key-00000001", "seconds": %s, "form": {"comment": %s}}'
BODIES = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 50_000,
    b"null",
    b"[]",
    b'"text"',
    b'{"claim": 1, "claim": 2}',
    b'{"\\ud800": "\\ud800"}',
    (FORM % ("1", '"\\ud800"')).encode(),
    (FORM % ("1", '"\\u0000"')).encode(),
    (FORM % ("NaN", '""')).encode(),
    (FORM % ("-Infinity", '""')).encode(),
    (FORM % ("1e999", '""')).encode(),
    (FORM % ("1" * 5000, '""')).encode(),
    (FORM % ("1", "1e999")).encode(),
    b'{"token": "\\ud800"}',
    b'{"name": "\\ud800"}',
    b'{"name": "a\\u0000b"}',
    b'{"prompt": "\\ud800"}',
]


def live(store):
    return LiveSource(store, lambda prompt: [("yes", "m1"), ("no", "m2")])


@pytest.fixture
def site(tmp_path, location):
    with serving(tmp_path, pairs_and_more(6), QueueConfig(overlap=2), None, live, location) as site:
        yield site


def openapi(site):
    """The app's own document, which it does not serve."""
    return schemathesis.openapi.from_dict(site.app._app.openapi())


def fuzz(site, method, path, *, name, examples):
    """Send made-up requests as somebody (None: without a session) and look at every status."""
    operation = openapi(site)[path][method]
    modes = schemathesis.GenerationMode
    cases = st.one_of(
        operation.as_strategy(generation_mode=modes.POSITIVE),
        operation.as_strategy(generation_mode=modes.NEGATIVE),
    )
    session = requests.Session()
    headers = {"origin": site.address}
    person = None
    if name is not None:
        person = site.client(name)
        headers["x-csrf-token"] = person.http.headers["x-csrf-token"]
        session.cookies.update(dict(person.http.cookies))
    statuses = set()

    @given(case=cases, holds=st.booleans())
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # the first failure says enough; making it small takes minutes
        suppress_health_check=list(HealthCheck),
    )
    def send(case, holds):
        if holds and person is not None and isinstance(case.body, dict) and "claim" in case.body:
            claim = site.queue.next(name)  # a real one, so that more than the door is tried
            if claim is not None:  # many skips leave nothing to claim
                case.body["claim"] = claim.id
        answer = case.call(
            base_url=site.address,
            session=session,
            headers=headers,
            allow_redirects=False,
            timeout=SECONDS,
        )
        statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text

    send()
    session.close()
    return statuses


@pytest.mark.parametrize(
    "examples", [10, pytest.param(300, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_made_up_requests_are_answered(tmp_path, method, path, examples):
    with serving(tmp_path, pairs_and_more(6), QueueConfig(overlap=2), live=live) as site:
        who = "admin" if path.startswith("/admin") else "ann"
        inside = fuzz(site, method, path, name=who, examples=examples)
        assert inside - {401, 403}, "nothing came past the door"
        outside = fuzz(site, method, path, name=None, examples=examples)
        if (method, path) not in OPEN_ROUTES:
            assert outside <= {401, 303, 413}


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"] + ["/login"])
def test_bodies_that_are_no_json_are_refused(site, path):
    person = site.client("admin" if path.startswith("/admin") else "ann")
    for body in BODIES:
        answer = person.http.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (body[:80], answer.text)
        answer.json()
        if path == "/logout":
            break


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "http://[x"),
        ("origin", "\xff\xfe"),
        ("cookie", "rlhf_label=\xff; rlhf_label"),
        ("cookie", 'rlhf_label="\\777"; =; ;;'),
        ("host", "[::1"),
        ("host", "localhost:99999999"),
        ("content-type", "application/json; charset=none"),
        ("content-type", "text/plain"),
        ("x-csrf-token", "\xe9"),
        ("content-encoding", "gzip"),
    ],
)
def test_headers_that_no_browser_sends_are_answered(site, name, value):
    headers = {"origin": site.address, name: value.encode("latin-1")}
    for method, path in (("POST", "/login"), ("POST", "/api/next"), ("GET", "/")):
        answer = httpx.request(method, site.address + path, headers=headers, content=b"{}")
        assert answer.status_code < 500


def test_what_is_no_http_leaves_the_server_up(site):
    host, port = site.address.removeprefix("http://").split(":")
    for raw in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST /api/next HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(raw)
    assert httpx.get(f"{site.address}/health").status_code == 200
