"""A small OpenID Connect provider that logs in whoever it is told to, over HTTP."""

import base64
import hashlib
import secrets
import threading
import time
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "labels", "a secret of the client, long enough to sign with"


class Provider:
    """Its settings; a test changes them between two logins."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.reset()

    def reset(self) -> None:
        self.claims: dict[str, Any] = {}  # of the person who logs in next
        self.changes: dict[str, Any] = {}  # wrong claims; None leaves one out
        self.algorithm = "RS256"
        self.published = self.key
        self.denied = ""
        self.codes: dict[str, dict[str, str]] = {}  # code -> the request of the browser
        self.token_requests = 0

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "u1",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            **self.claims,
            **self.changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": "one"}
        if self.algorithm == "none":
            parts = (base64.urlsafe_b64encode(str(part).replace("'", '"').encode()).rstrip(b"=")
                     for part in (header, claims))  # fmt: skip
            return ".".join(part.decode() for part in parts) + "."
        key = OctKey.import_key(SECRET) if self.algorithm == "HS256" else self.key
        return jwt.encode(header, claims, key, algorithms=[self.algorithm])


def app_of(provider: Provider) -> FastAPI:
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    def description() -> Any:
        return {
            "issuer": provider.issuer,
            "authorization_endpoint": f"{provider.issuer}/authorize",
            "token_endpoint": f"{provider.issuer}/token",
            "jwks_uri": f"{provider.issuer}/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }

    @app.get("/jwks")
    def keys() -> Any:
        return {"keys": [provider.published.as_dict(private=False)]}

    @app.get("/authorize")
    def authorize(request: Request) -> Any:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        answer = {"state": query["state"], "error": provider.denied, "error_description": "<b>no"}
        if not provider.denied:
            code = secrets.token_urlsafe(16)
            provider.codes[code] = query
            answer = {"state": query["state"], "code": code}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", 302)

    @app.post("/token")
    async def token(request: Request) -> Any:
        provider.token_requests += 1
        form = dict(parse_qsl((await request.body()).decode()))
        query = provider.codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".replace(" ", "+").encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        sent = request.headers.get("authorization", "")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            query is None
            or sent not in (f"Basic {expected}", f"Basic {plain}")
            or challenge != query["code_challenge"]
            or form.get("redirect_uri") != query["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return {
            "access_token": "unused",
            "token_type": "Bearer",
            "id_token": provider.id_token(query["nonce"]),
        }

    return app


@contextmanager
def running():
    """A `Provider` on a free port."""
    provider = Provider()
    settings = uvicorn.Config(app_of(provider), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    provider.issuer = f"http://127.0.0.1:{port}"
    yield provider
    server.should_exit = True
    thread.join(30)
