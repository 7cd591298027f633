"""Fuzzing: no request makes a route fail with a server error.

schemathesis generates valid and invalid requests from the app's OpenAPI document. Bodies that are
not JSON and headers that no browser sends are added by hand.
"""

import socket

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlhf.labels.people import update_person
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.live_sampling import LiveSampling
from tests.labels.test_web_security import PUBLIC_ROUTES, ROUTES
from tests.labels.web_server import candidates, serving

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
requests = pytest.importorskip("requests", reason="needs requests")

SECONDS = 120.0  # for a response on a busy machine
OPERATIONS = [
    (
        method,
        path.replace("/rankings", "/{kind}")
        .replace("/items/1", "/items/{item_id}")
        .replace("/cat.png", "/{name}"),
    )
    for method, path in [*ROUTES, *PUBLIC_ROUTES]
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
    return LiveSampling(store, lambda prompt: [("yes", "m1"), ("no", "m2")])


@pytest.fixture
def site(tmp_path, location):
    with serving(tmp_path, candidates(6), QueueConfig(overlap=2), None, live, location) as site:
        yield site


def openapi(site):
    """The app's OpenAPI document, which it does not serve."""
    return schemathesis.openapi.from_dict(site.app._app.openapi())


def fuzz(site, method, path, *, name, examples):
    """Send generated requests as `name` (None: without a session); returns their statuses."""
    operation = openapi(site)[path][method]
    modes = schemathesis.GenerationMode
    cases = st.one_of(
        operation.as_strategy(generation_mode=modes.POSITIVE),
        operation.as_strategy(generation_mode=modes.NEGATIVE),
    )
    session = requests.Session()
    headers = {"origin": site.address}
    client = None
    if name is not None:
        client = site.client(name)
        headers["x-csrf-token"] = client.http.headers["x-csrf-token"]
        session.cookies.update(dict(client.http.cookies))
    statuses = set()

    @given(case=cases, use_claim=st.booleans())
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # shrinking a failure takes minutes
        suppress_health_check=list(HealthCheck),
    )
    def send(case, use_claim):
        if (
            use_claim
            and client is not None
            and isinstance(case.body, dict)
            and "claim" in case.body
        ):
            claim = site.queue.next(name)  # a real claim gets past the first check
            if claim is not None:  # many skips leave nothing to claim
                case.body["claim"] = claim.id
        response = case.call(
            base_url=site.address,
            session=session,
            headers=headers,
            allow_redirects=False,
            timeout=SECONDS,
        )
        statuses.add(response.status_code)
        assert response.status_code < 500, response.text

    send()
    session.close()
    return statuses


@pytest.mark.parametrize(
    "examples", [10, pytest.param(300, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_generated_requests_cause_no_server_error(tmp_path, method, path, examples):
    with serving(tmp_path, candidates(6), QueueConfig(overlap=2), live=live) as site:
        name = "admin" if path.startswith("/admin") else "ann"
        if "adjudicate" in path:
            name = "dana"
            site.token(name)
            with site.store.write() as connection:
                update_person(connection, name, role="adjudicator")
        statuses = fuzz(site, method, path, name=name, examples=examples)
        assert statuses - {401, 403}, "no request passed the guard"
        anonymous = fuzz(site, method, path, name=None, examples=examples)
        if (method, path) not in PUBLIC_ROUTES:
            assert anonymous <= {401, 303, 413}


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"] + ["/login"])
def test_bodies_that_are_not_json_cause_no_server_error(site, path):
    client = site.client("admin" if path.startswith("/admin") else "ann")
    for body in BODIES:
        headers = {"content-type": "application/json"}
        response = client.http.post(path, content=body, headers=headers)
        assert response.status_code < 500, (body[:80], response.text)
        response.json()
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
def test_unusual_headers_cause_no_server_error(site, name, value):
    headers = {"origin": site.address, name: value.encode("latin-1")}
    for method, path in (("POST", "/login"), ("POST", "/api/next"), ("GET", "/")):
        response = httpx.request(method, site.address + path, headers=headers, content=b"{}")
        assert response.status_code < 500


def test_server_survives_invalid_http(site):
    host, port = site.address.removeprefix("http://").split(":")
    for raw in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST /api/next HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(raw)
    assert httpx.get(f"{site.address}/health").status_code == 200
