"""Login by OpenID Connect, by Authlib: `pip install 'rlhf[oidc]'`. Off by default.

Authorization code flow with PKCE (https://openid.net/specs/openid-connect-core-1_0.html, section
3.1). The state is bound to the browser by a cookie and used once; signature, issuer, audience,
expiry and nonce of the ID token are checked.
"""

import hmac
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlhf.errors import ConfigError
from rlhf.labels.records import normalized_name
from rlhf.labels.roles import ROLES
from rlhf.runtime import http
from rlhf.web.guard import Rejected
from rlhf.web.server import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from authlib.integrations.starlette_client import StarletteOAuth2App

CALLBACK = "/oidc/callback"
STATE_SECONDS, MAX_STATES = 600.0, 1000  # a login has to be finished within this time
TIMEOUT = 20.0  # seconds for an answer of the provider
# Signatures that only the provider can make; "none" and those with the client's secret are not.
ALGORITHM = re.compile(r"(RS|PS|ES)(256|384|512)|EdDSA|Ed25519")


@dataclass(frozen=True, kw_only=True)
class OidcConfig:
    """The identity provider, and which of its claims are read.

    Args:
        issuer: address of the provider, as in its ID tokens.
        client_id: that the provider gave this server.
        client_secret: that goes with it.
        name_claim: the claim that has the person's name in the store. It must be one that people
            cannot change themselves.
        role_claim: a claim with roles of the person, who is then added at their first login; None
            leaves people and roles to the store.
    """

    issuer: str
    client_id: str
    client_secret: str
    name_claim: str = "preferred_username"
    role_claim: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.issuer)
        schemes = ("https", "http") if parts.hostname in LOOPBACK_HOSTS else ("https",)
        if not parts.hostname or parts.scheme not in schemes:
            raise ConfigError(
                f"oidc_issuer={self.issuer} is no address with https; write that of the identity "
                "provider.",
                code="bad-value",
            )
        if not self.client_id or not self.client_secret:
            raise ConfigError(
                "a login by OpenID Connect needs --oidc_client_id, and its secret in the "
                "environment variable RLHF_OIDC_CLIENT_SECRET.",
                code="missing-key",
            )


@dataclass(frozen=True, kw_only=True)
class OidcUser:
    """Who logged in."""

    name: str
    role: str | None  # of the role claim; None if the store has the roles


@dataclass(frozen=True, kw_only=True)
class _Login:
    """A login that began."""

    nonce: str
    code_verifier: str
    ends_at: float


class OidcLogin:
    """Sends browsers to the provider and reads its answers.

    Args:
        config: the provider.
        address: of the label page, to which the provider sends the browser back.
        clock: a monotonic clock, in seconds.

    Raises:
        ConfigError: Authlib is not installed, or the provider cannot be reached or used.
    """

    def __init__(
        self, config: OidcConfig, address: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._clock = config, clock
        self._redirect_uri = f"{address}{CALLBACK}"
        self._client = _client(config)
        self._lock = threading.Lock()
        self._logins: dict[str, _Login] = {}

    @property
    def provider(self) -> str:
        """The provider's host, for the login page."""
        return urlsplit(self._config.issuer).netloc

    async def begin(self) -> tuple[str, str]:
        """(state, address of the provider's login page) of a new login."""
        begun = await self._client.create_authorization_url(self._redirect_uri)
        now = self._clock()
        login = _Login(
            nonce=begun["nonce"],
            code_verifier=begun["code_verifier"],
            ends_at=now + STATE_SECONDS,
        )
        with self._lock:
            waiting = {state: one for state, one in self._logins.items() if one.ends_at > now}
            newest = list(waiting.items())[-MAX_STATES + 1 :]
            self._logins = {**dict(newest), begun["state"]: login}
        return begun["state"], begun["url"]

    async def finish(self, query: Mapping[str, str], cookie: str) -> OidcUser:
        """The user whom the provider confirms.

        Args:
            query: of the provider's answer: `code` and `state`, or `error`.
            cookie: the state that this browser began with.

        Raises:
            Rejected: the login began elsewhere, or the provider does not confirm it.
        """
        login = self._take(query.get("state", ""), cookie)
        if "code" not in query:
            reason = query.get("error_description") or query.get("error") or "no code"
            raise Rejected(403, f"the identity provider did not log you in: {reason[:200]}")
        try:
            claims = await self._claims(query["code"], login)
        except Rejected:
            raise
        # Authlib, joserfc and httpx have no common error, and each of theirs means the same here.
        except Exception as error:
            raise Rejected(
                403, f"the identity provider did not confirm the login ({type(error).__name__})"
            ) from error
        return user_of(claims, self._config)

    def _take(self, state: str, cookie: str) -> _Login:
        with self._lock:
            login = self._logins.pop(state, None)
        is_own = hmac.compare_digest(state.encode(), cookie.encode())
        if login is None or not is_own or login.ends_at <= self._clock():
            raise Rejected(400, "this login did not begin in this browser, or too long ago; again")
        return login

    async def _claims(self, code: str, login: _Login) -> Mapping[str, Any]:
        token = await self._client.fetch_access_token(
            redirect_uri=self._redirect_uri, code=code, code_verifier=login.code_verifier
        )
        options = {
            "iss": {"essential": True, "values": [self._config.issuer]},
            "aud": {"essential": True, "values": [self._config.client_id]},
        }
        claims: Mapping[str, Any] | None = await self._client.parse_id_token(
            token, nonce=login.nonce, claims_options=options
        )
        # Authlib skips the nonce of providers that state `nonce_supported: false`.
        if claims is None or claims.get("nonce") != login.nonce:
            raise Rejected(403, "the identity provider sent no ID token of this login")
        return claims


def user_of(claims: Mapping[str, object], config: OidcConfig) -> OidcUser:
    """The user by the claims of an ID token.

    Raises:
        Rejected: no name, an email address that is not verified, or no role of this server.
    """
    name = claims.get(config.name_claim)
    if not isinstance(name, str) or not name.strip():
        raise Rejected(403, f"the identity provider sends no {config.name_claim}")
    if config.name_claim == "email" and claims.get("email_verified") is not True:
        raise Rejected(403, "the identity provider has not verified your email address")
    role = None
    if config.role_claim is not None:
        role = highest_role(claims.get(config.role_claim))
        if role is None:
            raise Rejected(403, f"the identity provider gives you no role ({config.role_claim})")
    return OidcUser(name=normalized_name(name.strip()), role=role)


def highest_role(claim: object) -> str | None:
    """The last of ROLES in a claim, which is a text or a list; None without one."""
    values = claim if isinstance(claim, list) else [claim]
    found = [role for role in ROLES if role in values]
    return found[-1] if found else None


def _client(config: OidcConfig) -> "StarletteOAuth2App":
    try:
        from authlib.integrations.starlette_client import StarletteOAuth2App
    except ImportError as error:
        raise ConfigError(
            f"a login by OpenID Connect needs {error.name}; run `pip install 'rlhf[oidc]'`.",
            code="missing-package",
        ) from error
    metadata = _metadata(config.issuer)
    return StarletteOAuth2App(
        None,
        name="oidc",
        client_id=config.client_id,
        client_secret=config.client_secret,
        client_kwargs={
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "timeout": TIMEOUT,
        },
        **metadata,
    )


def _metadata(issuer: str) -> dict[str, object]:
    """What Authlib needs of the provider's description (OpenID Connect Discovery 1.0, section 4).

    Raises:
        ConfigError: no description, or one of another issuer.
    """
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        found = http.request_json(address, timeout=TIMEOUT)
    except (http.Rejected, http.Unreachable, ValueError) as error:
        raise ConfigError(
            f"oidc_issuer={issuer}: {address} cannot be read: {error}; check the address.",
            code="bad-value",
        ) from error
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    description = found if isinstance(found, dict) else {}
    missing = [name for name in names if not isinstance(description.get(name), str)]
    if missing or description.get("issuer") != issuer:
        raise ConfigError(
            f"oidc_issuer={issuer}: {address} is of the issuer {description.get('issuer')!r}"
            f"{''.join(f', without {name}' for name in missing)}; write the issuer exactly as it "
            "is there.",
            code="bad-value",
        )
    supported: Sequence[object]
    supported = description.get("id_token_signing_alg_values_supported") or ["RS256"]
    algorithms = [str(one) for one in supported if ALGORITHM.fullmatch(str(one))]
    return {
        "issuer": issuer,
        **{name: description[name] for name in names},
        "id_token_signing_alg_values_supported": algorithms or ["RS256"],
    }
