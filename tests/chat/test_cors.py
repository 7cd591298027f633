"""Pages of other sites may use the API where the server allows their origin."""

import httpx
import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.config import ChatServerConfig
from tests.chat.chat_server import serving
from tests.errors import raises
from tests.tiny_models import make_model

ORIGIN, OTHER = "http://localhost:3000", "http://localhost:3001"
TOKEN = "t0ken-of-sixteen"


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cors")
    models = {"tiny": load_chat_model(str(make_model(folder / "qwen2", "qwen2")))}
    options = {"token": TOKEN, "allowed_origins": [ORIGIN]}
    with (
        serving(folder, models, **options) as site,
        httpx.Client(base_url=site.address, timeout=240) as client,
    ):
        yield client


def preflight(http, origin: str) -> httpx.Response:
    """What a browser asks before it sends JSON with a token to another site."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return http.options("/v1/embeddings", headers=headers)


def embed(http, origin: str | None, token: str = TOKEN) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} | ({"origin": origin} if origin else {})
    return http.post("/v1/embeddings", json={"model": "tiny", "input": "A"}, headers=headers)


def test_allowed_origin_may_send_and_read(http):
    asked = preflight(http, ORIGIN)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in asked.headers["access-control-allow-headers"]
    answer = embed(http, ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_its_errors_can_be_read_too(http):
    answer = embed(http, ORIGIN, "wrong")
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_other_origins_are_rejected(http):
    assert preflight(http, OTHER).status_code == 400
    answer = embed(http, OTHER)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_programs_and_the_own_page_need_no_permission(http):
    assert embed(http, None).status_code == 200
    assert embed(http, str(http.base_url).rstrip("/")).status_code == 200


@pytest.mark.parametrize("origin", ["localhost:3000", "http://a/b", "http://", "null", ""])
def test_value_that_is_no_origin_is_rejected(origin):
    with raises("bad-value", origin):
        ChatServerConfig(allowed_origins=[origin])


def test_every_origin_needs_a_token():
    with raises("key-conflict", "allowed_origins", "token"):
        ChatServerConfig(allowed_origins=["*"])
    assert ChatServerConfig(allowed_origins=["*"], token=TOKEN).allowed_origins == ["*"]
