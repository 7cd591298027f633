"""Authentication: the admin token, invite links, sessions. Only hashes are stored."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.audit import record
from rlhf.labels.records import normalized_name
from rlhf.labels.roles import ADMIN
from rlhf.labels.schema import ADMINISTRATOR, RESERVED, people, sessions
from rlhf.labels.store import LabelStore

ADMIN_TOKEN = "admin_token_sha256"
CSRF_SECRET = "csrf_secret"
SESSION_SECONDS = 30 * 86_400
MAX_NAME_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class WebSession:
    """A logged-in user."""

    annotator: str | None  # None for whoever logged in with the admin link
    role: str
    csrf: str
    token_sha256: str

    @property
    def name(self) -> str:
        """The user's name, as decisions record it."""
        return ADMINISTRATOR if self.annotator is None else self.annotator


def token_digest(token: str) -> str:
    """The stored hash of a token. A slow hash is not needed: a token has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def admin_token(store: LabelStore, *, renew: bool = False) -> str | None:
    """A new admin token, to be printed once; None if the store has one already."""
    if store.setting(ADMIN_TOKEN) and not renew:
        return None
    token = new_token()
    store.set_setting(ADMIN_TOKEN, token_digest(token))
    if renew:
        with store.write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.annotator.is_(None)))
    return token


def new_token() -> str:
    """A token with 256 random bits."""
    return secrets.token_urlsafe(32)


def invite(store: LabelStore, name: str, token: str | None = None) -> str:
    """The token of a link for a person; it revokes the old one and its sessions.

    token: one that is used in several stores; None makes one.

    Raises:
        DataError: a name that is empty, too long or not printable.
    """
    with store.write() as connection:
        return set_link(connection, name, token)


def set_link(connection: sa.Connection, name: str, token: str | None = None) -> str:
    """`invite` as a part of a transaction."""
    check_name(name)
    name = normalized_name(name)
    token = new_token() if token is None else token
    connection.execute(sa.delete(sessions).where(sessions.c.annotator == name))
    link = {"invite_sha256": token_digest(token), "at": time.time()}
    renewed = sa.update(people).where(people.c.name == name).values(link)
    if connection.execute(renewed).rowcount == 0:
        connection.execute(sa.insert(people).values(name=name, **link))
    return token


def check_name(name: str) -> None:
    """Raise DataError for an annotator's name that could not be shown or typed."""
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME_LENGTH:
        raise DataError(
            f"annotator {name!r}: use 1 to {MAX_NAME_LENGTH} characters, no outer spaces.",
            code="bad-value",
        )
    if name in RESERVED:
        raise DataError(f"annotator {name!r}: the name is reserved.", code="bad-value")
    if not name.isprintable():
        raise DataError(f"annotator {name!r}: use printable characters.", code="bad-value")


def names(store: LabelStore) -> list[str]:
    """Names of all invited annotators."""
    with store.read() as connection:
        return list(connection.scalars(sa.select(people.c.name).order_by(people.c.name)))


def log_in(
    store: LabelStore, token: str, *, action: str = "POST /login"
) -> tuple[str, WebSession] | None:
    """(cookie, session) for the admin token or an invite; None for any other token.

    action: of the entry in the audit.
    """
    digest = token_digest(token)
    is_admin = hmac.compare_digest(store.setting(ADMIN_TOKEN, "none"), digest)
    with store.write() as connection:
        query = sa.select(people.c.name, people.c.role).where(people.c.invite_sha256 == digest)
        person = connection.execute(query).first()
        if person is None and not is_admin:
            return None
        name, role = (None, ADMIN) if person is None else (person.name, person.role)
        cookie, session = start_session(connection, name, role, SESSION_SECONDS)
        record(connection, who=session.name, role=role, action=action)
        return cookie, session


def start_session(
    connection: sa.Connection, name: str | None, role: str, seconds: float
) -> tuple[str, WebSession]:
    """(cookie, session) of a new session; old sessions that have ended are deleted."""
    cookie, csrf = new_token(), new_token()
    session = WebSession(annotator=name, role=role, csrf=csrf, token_sha256=token_digest(cookie))
    connection.execute(sa.delete(sessions).where(sessions.c.expires_at < time.time()))
    row = {"token_sha256": session.token_sha256, "annotator": name, "csrf": csrf}
    connection.execute(sa.insert(sessions).values(**row, expires_at=time.time() + seconds))
    return cookie, session


def role_of(connection: sa.Connection, name: str) -> str | None:
    """The role of a person; None for a name without access."""
    query = sa.select(people.c.role).where(
        people.c.name == name, people.c.invite_sha256.is_not(None)
    )
    return connection.scalar(query)


def session_of(store: LabelStore, cookie: str) -> WebSession | None:
    """The unexpired session of a cookie, with the role that its user has now."""
    query = (
        sa.select(sessions, people.c.role)
        .outerjoin(people, people.c.name == sessions.c.annotator)
        .where(sessions.c.token_sha256 == token_digest(cookie), sessions.c.expires_at > time.time())
    )
    with store.read() as connection:
        row = connection.execute(query).first()
    if row is None or (row.annotator is not None and row.role is None):
        return None
    return WebSession(
        annotator=row.annotator,
        role=ADMIN if row.annotator is None else row.role,
        csrf=row.csrf,
        token_sha256=row.token_sha256,
    )


def csrf_secret(store: LabelStore) -> str:
    """The key of the CSRF tokens of users whom a proxy names; made at its first use."""
    if not store.setting(CSRF_SECRET):
        store.set_setting(CSRF_SECRET, new_token())
    return store.setting(CSRF_SECRET)


def session_by_name(store: LabelStore, name: str, secret: str) -> WebSession | None:
    """The session of a user whom a proxy names; None for a person without access.

    Nothing is stored: access ends with the login at the proxy. The CSRF token is
    HMAC-SHA256(secret, name), so that open pages survive a restart.
    """
    with store.read() as connection:
        role = role_of(connection, name)
    if role is None:
        return None
    csrf = hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()
    return WebSession(annotator=name, role=role, csrf=csrf, token_sha256="")


def log_out(store: LabelStore, session: WebSession) -> None:
    """End a session."""
    with store.write() as connection:
        ended = sessions.c.token_sha256 == session.token_sha256
        connection.execute(sa.delete(sessions).where(ended))
