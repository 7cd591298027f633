"""Access control of the server: other sites, the token, other people's conversations."""

import httpx
import openai
import pytest
from fastapi.routing import APIRoute

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.config import ChatServerConfig
from tests.chat.chat_server import serving
from tests.errors import raises
from tests.tiny_models import make_model

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "A cat?"}], "max_tokens": 2}
TOKEN = "t0ken-of-sixteen"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "llama")))


@pytest.fixture(scope="module")
def site(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site:
        yield site


def test_other_origins_hosts_and_large_bodies_are_rejected(site):
    address = f"{site.address}/v1/chat/completions"

    def post(headers=None, **content) -> httpx.Response:
        return httpx.post(address, headers=headers, timeout=240, **(content or {"json": BODY}))

    assert post().status_code == 200
    assert post({"origin": site.address}).status_code == 200
    assert post({"origin": "http://evil.example"}).status_code == 403
    assert post({"origin": "null"}).status_code == 403
    assert post({"host": "evil.example"}).status_code == 421
    assert post(content=b"x" * (1 << 20) + b"x").status_code == 413
    assert (
        post(content=iter([b"x" * (1 << 20), b"x"])).status_code == 413
    )  # without a content-length
    assert httpx.get(f"{site.address}/page/none").json()["error"]["type"] == "invalid_request_error"


def test_every_response_has_the_strict_policy(site):
    for path in ("/", "/static/chat.js", "/v1/models", "/v1/none"):
        headers = httpx.get(site.address + path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    page = httpx.get(site.address).text
    assert "http" not in page.replace("http-equiv", "")  # nothing from other sites


def test_token_protects_all_but_the_static_page(model, tmp_path):
    with serving(tmp_path, {"tiny": model}, token=TOKEN) as site:
        for path in ("/", "/health", "/static/chat.js"):
            assert httpx.get(site.address + path).status_code == 200
        for path in ("/v1/models", "/page/models", "/none"):
            assert httpx.get(site.address + path).status_code == 401
        assert httpx.post(f"{site.address}/page/vote", json={}).status_code == 401
        with pytest.raises(openai.AuthenticationError, match="wrong token"):
            site.client("another-token-of").models.list()
        assert [model.id for model in site.client(TOKEN).models.list()] == ["tiny"]


# Every route of the server; a test checks that a new route is added here.
ROUTES = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/page/models"),
    ("POST", "/page/markdown"),
    ("POST", "/page/fit"),
    ("POST", "/page/go_on"),
    ("POST", "/page/export"),
    ("POST", "/page/rewards"),
    ("POST", "/page/blind"),
    ("POST", "/page/vote"),
    ("POST", "/page/thumb"),
    ("POST", "/page/tokens"),
    ("POST", "/page/positions"),
    ("POST", "/page/next"),
    ("POST", "/page/why"),
    ("POST", "/page/space"),
    ("GET", "/page/history"),
    ("GET", "/page/history/chat-0001"),
    ("POST", "/page/history/chat-0001"),
    ("POST", "/page/history/chat-0001/title"),
    ("DELETE", "/page/history/chat-0001"),
]
PUBLIC_ROUTES = [("GET", "/"), ("GET", "/health")]


def test_no_route_is_open_without_the_token_or_from_another_site(model, tmp_path):
    with (
        serving(tmp_path, {"tiny": model}, token=TOKEN) as site,
        httpx.Client(base_url=site.address, timeout=240) as http,
    ):
        for method, path in [*ROUTES, ("GET", "/openapi.json"), ("PUT", "/x")]:
            for headers in ({}, {"authorization": "Bearer another-token-of"}):
                assert http.request(method, path, headers=headers, json={}).status_code == 401, path
            headers = {"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}
            if method not in ("GET", "HEAD"):
                assert http.request(method, path, headers=headers, json={}).status_code == 403, path
        app = site.app._app
    routes = {
        (method, path.replace("{name:path}", "tiny").replace("{key}", "chat-0001"))
        for route in app.routes
        if isinstance(route, APIRoute)
        for path, methods in [(route.path, route.methods)]
        for method in methods
        if method != "HEAD"
    }
    assert routes == set(ROUTES) | set(PUBLIC_ROUTES)
    others = {route.path for route in app.routes if not isinstance(route, APIRoute)}
    assert others == {"/static", "/static/text"}


def test_each_browser_of_a_shared_page_has_its_own_conversations(model, tmp_path):
    turn = {"id": "user-0001", "parent": None, "role": "user", "content": "secret"}
    body = {"title": "Mine", "leaf": None, "turns": [turn]}
    keys = {"Ann": "a" * 64, "Bob": "b" * 64}
    with serving(tmp_path, {"tiny": model}, token=TOKEN) as site:
        clients = {
            name: httpx.Client(
                base_url=site.address,
                headers={"authorization": f"Bearer {TOKEN}", "x-browser-key": key},
            )
            for name, key in keys.items()
        }
        clients["Ann"].post("/page/history/chat-0001", json=body).raise_for_status()
        assert len(clients["Ann"].get("/page/history").json()) == 1
        assert clients["Bob"].get("/page/history").json() == []
        assert clients["Bob"].get("/page/history/chat-0001").status_code == 400
        for key in ("", "guess"):
            reply = clients["Ann"].get("/page/history", headers={"x-browser-key": key})
            assert reply.status_code == 400
        vote = {"messages": BODY["messages"], "response": "x", "model": "tiny", "up": True}
        reply = clients["Ann"].post("/page/thumb", json=vote)
        assert reply.status_code == 400
        assert "name" in reply.json()["error"]["message"]
    assert b"a" * 64 not in (tmp_path / "chats.sqlite").read_bytes()


def test_server_without_history_keeps_no_conversation(model, tmp_path):
    with serving(tmp_path, {"tiny": model}, with_history=False) as site:
        assert httpx.get(f"{site.address}/page/models").json()["history"] is False
        assert httpx.get(f"{site.address}/page/history").status_code == 404
    assert not (tmp_path / "chats.sqlite").exists()


def test_public_address_needs_a_flag_and_a_token():
    with raises("not-allowed", "0.0.0.0", "--public"):
        ChatServerConfig(host="0.0.0.0")
    with raises("missing-key", "public", "token"):
        ChatServerConfig(host="0.0.0.0", public=True)
    with raises("bad-value", "token", 16):
        ChatServerConfig(token="short")
    assert ChatServerConfig(host="0.0.0.0", public=True, token=TOKEN).port == 8080
