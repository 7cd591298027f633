"""Login by a proxy's header: only from trusted addresses, only for people of the project."""

import pytest
from starlette.testclient import TestClient

from rlhf.labels import access
from rlhf.labels.erase import erase_person
from rlhf.labels.people import revoke, update_person
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.proxy_login import proxy_login
from rlhf.web.guard import Rejected
from tests.errors import raises
from tests.labels.web_server import candidates

HOST = "http://127.0.0.1"
PROXY, ELSEWHERE = "10.0.0.5", "10.0.1.5"
HEADER = "X-Forwarded-User"


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        store.add_candidates(candidates(2))
        for name in ("ann", "rita", "Zoë"):
            access.invite(store, name)
        with store.write() as connection:
            update_person(connection, "rita", role="researcher")
        yield store


@pytest.fixture
def client_at(store):
    """Opens a client at an address, with the proxy's header for `user`."""
    login = proxy_login(HEADER, ["10.0.0.0/24", "fd00::1"])
    app = create_app(Queue(store, QueueConfig()), WebConfig(proxy=login))

    def client(address, user=None):
        headers = {"origin": HOST}
        if user is not None:
            headers[HEADER] = user.encode()
        return TestClient(
            app, base_url=HOST, headers=headers, client=(address, 5), follow_redirects=False
        )

    return client


def csrf_of(page):
    return page.text.split('name="csrf" content="')[1].split('"')[0]


def test_trusted_proxy_names_the_user(client_at):
    for address in (PROXY, f"::ffff:{PROXY}", "fd00::1"):
        ann = client_at(address, "ann")
        page = ann.get("/")
        assert "Logged in as ann" in page.text
        assert "set-cookie" not in page.headers
        assert ann.post("/api/next", json={}).status_code == 403  # without the CSRF token
        ann.headers["x-csrf-token"] = csrf_of(page)
        assert ann.post("/api/next", json={}).json()["claim"] == 1
    rita = client_at(PROXY, "rita")
    assert rita.get("/").headers["location"] == "/admin"
    assert rita.get("/admin/items").status_code == 200
    assert rita.get("/admin/audit").status_code == 403
    assert "rita" in client_at(PROXY, "rita").get("/login").text


def test_header_from_elsewhere_is_rejected_on_every_route(client_at):
    for address in (ELSEWHERE, "127.0.0.1", "::1", "unix"):
        spoofer = client_at(address, "rita")
        for path in ("/", "/login", "/admin", "/health", "/api/form"):
            response = spoofer.get(path)
            assert response.status_code == 403, (address, path)
            assert "trusted proxy" in response.json()["detail"]
        assert spoofer.post("/login", json={"token": "x"}).status_code == 403


def test_header_from_elsewhere_does_not_ride_on_a_session(store, client_at):
    """A cookie of Ann and a spoofed header of Rita: neither of them gets in."""
    client = client_at(ELSEWHERE)
    token = access.invite(store, "ann")
    client.post("/login", json={"token": token}).raise_for_status()
    assert client.get("/").status_code == 200
    assert client.get("/", headers={HEADER: "rita"}).status_code == 403


def test_user_of_the_proxy_replaces_the_one_of_an_old_cookie(store, client_at):
    client = client_at(PROXY)
    client.post("/login", json={"token": access.invite(store, "ann")}).raise_for_status()
    assert "Logged in as ann" in client.get("/").text
    assert client.get("/", headers={HEADER: "rita"}).headers["location"] == "/admin"


@pytest.mark.parametrize(
    ("name", "status"),
    [("zoe", 403), ("(administrator)", 403), (" ", 303), ("", 303)],
)
def test_header_must_name_a_person_of_the_project(client_at, name, status):
    assert client_at(PROXY).get("/", headers={HEADER: name}).status_code == status


def named(*values):
    """The user of a request of the proxy with these values of the header."""
    headers = [(HEADER.lower().encode(), value) for value in values]
    return proxy_login(HEADER, [PROXY]).user_of({"headers": headers, "client": (PROXY, 5)})


@pytest.mark.parametrize("values", [[b"rita", b"ann"], [b"rita", b""], [b"\xff"]])
def test_header_that_is_not_one_name_is_rejected(values):
    with pytest.raises(Rejected) as caught:
        named(*values)
    assert caught.value.status == 400


def test_name_in_the_header_is_composed():
    """A name that was typed on a Mac is the same person."""
    assert named("Zoe\u0308".encode()) == "Zo\u00eb"
    assert named(b" ann ") == "ann"
    assert named() is None


def test_revoked_person_has_no_access_by_the_proxy(store, client_at):
    ann = client_at(PROXY, "ann")
    assert ann.get("/").status_code == 200
    with store.write() as connection:
        revoke(connection, "ann")
    assert ann.get("/").status_code == 403
    erase_person(store, "ann")
    assert ann.get("/").status_code == 403


def test_csrf_token_is_of_the_user_and_survives_a_restart(store, client_at):
    first = csrf_of(client_at(PROXY, "ann").get("/"))
    app = create_app(Queue(store, QueueConfig()), WebConfig(proxy=proxy_login(HEADER, [PROXY])))
    again = TestClient(app, base_url=HOST, headers={HEADER: "ann"}, client=(PROXY, 5))
    assert csrf_of(again.get("/")) == first
    assert csrf_of(client_at(PROXY, "rita").get("/admin")) != first


def test_header_means_nothing_where_the_login_is_off(store):
    app = create_app(Queue(store, QueueConfig()), WebConfig())
    client = TestClient(app, base_url=HOST, headers={HEADER: "rita"}, client=(PROXY, 5))
    assert client.get("/admin").status_code == 401


@pytest.mark.parametrize(
    ("header", "addresses", "code", "name"),
    [
        (HEADER, [], "key-conflict", "--trusted_proxy"),
        (None, [PROXY], "key-conflict", "--proxy_user_header"),
        (HEADER, ["proxy.example"], "bad-value", "proxy.example"),
        (HEADER, ["10.0.0.5/8"], "bad-value", "10.0.0.5/8"),
        ("Cookie", [PROXY], "bad-value", "Cookie"),
        ("X User", [PROXY], "bad-value", "X User"),
    ],
)
def test_unusable_options_raise(header, addresses, code, name):
    with raises(code, name):
        proxy_login(header, addresses)
    assert proxy_login(None, []) is None
