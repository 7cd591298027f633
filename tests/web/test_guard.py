"""The shared request guard around a small app: host, origin, body size, headers, authorization."""

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from rlhf.web.guard import MAX_BODY, Rejected, RequestGuard

HOST = "127.0.0.1:8000"
OWN_ORIGIN = {"origin": f"http://{HOST}"}


async def app(scope, receive, send):
    """Returns the length of the body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def authorize(scope, headers):
    if scope["path"] == "/private":
        raise Rejected(401, "log in first")


def error_response(scope, rejected):
    return JSONResponse({"detail": str(rejected)}, rejected.status)


def send(method: str, path: str = "/", *, origin_required: bool = True, **request):
    guard = RequestGuard(
        app,
        ["127.0.0.1", "Localhost"],
        authorize=authorize,
        error_response=error_response,
        origin_required=origin_required,
    )

    async def run():
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("LOCALHOST:1", 200), ("evil.example", 421), ("127.0.0.1.evil", 421)],
)
def test_only_allowed_hosts_are_served(host, status):
    """Against DNS rebinding: a name that points to this machine is not enough."""
    assert send("GET", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{HOST}", 200),
        (f"https://{HOST}", 200),
        ("http://127.0.0.1:9", 403),
        ("http://evil.example", 403),
        (f"ftp://{HOST}", 403),
        ("http://[x", 403),
        ("null", 403),
    ],
)
@pytest.mark.parametrize("origin_required", [False, True])
def test_unsafe_request_needs_the_same_origin(origin, status, origin_required):
    headers = {"origin": origin}
    assert send("POST", headers=headers, origin_required=origin_required).status_code == status
    assert send("GET", headers=headers, origin_required=origin_required).status_code == 200


def test_request_without_origin_passes_only_if_not_required():
    assert send("POST", origin_required=True).status_code == 403
    assert send("POST", origin_required=False).status_code == 200


def test_body_over_the_limit_is_rejected_with_or_without_a_length():
    async def chunks():
        for _ in range(MAX_BODY // 2**16 + 1):
            yield b"x" * 2**16

    assert send("POST", headers=OWN_ORIGIN, content=b"x" * MAX_BODY).text == str(MAX_BODY)
    assert send("POST", headers=OWN_ORIGIN, content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert send("POST", headers=OWN_ORIGIN, content=chunks()).status_code == 413
    assert send("POST", headers=OWN_ORIGIN | {"content-length": "many"}).status_code == 413


def test_authorization_comes_last_and_its_reason_is_returned():
    assert send("GET", "/private").json() == {"detail": "log in first"}
    assert send("GET", "/private").status_code == 401
    assert send("GET", "/private", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("path", ["/", "/private", "/static/page.js"])
def test_every_response_has_the_security_headers(path):
    headers = send("GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("cache-control") == (None if path.startswith("/static/") else "no-store")
