"""Who may come in: the researcher's token, invite links, sessions. Only hashes are stored."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.records import person
from rlhf.labels.schema import people, sessions
from rlhf.labels.store import LabelStore

ADMIN_TOKEN = "admin_token_sha256"
SESSION_SECONDS = 30 * 86_400
LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who has come in."""

    annotator: str | None  # None is the researcher
    csrf: str
    token_sha256: str

    @property
    def is_admin(self) -> bool:
        """Whether this is the researcher, who may see everything and labels nothing."""
        return self.annotator is None


def digest(token: str) -> str:
    """What is stored of a token. It has 256 random bits: no slow hash makes guessing harder."""
    return hashlib.sha256(token.encode()).hexdigest()


def admin_token(store: LabelStore, *, renew: bool = False) -> str | None:
    """A new researcher's token, to be shown once; None where the store has one already."""
    if store.setting(ADMIN_TOKEN) and not renew:
        return None
    token = secrets.token_urlsafe(32)
    store.set_setting(ADMIN_TOKEN, digest(token))
    if renew:
        with store.write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.annotator.is_(None)))
    return token


def invite(store: LabelStore, name: str) -> str:
    """A new token for an annotator; the old one and its sessions end.

    Raises:
        DataError: a name that is empty, too long or not printable.
    """
    check_name(name)
    name = person(name)
    token = secrets.token_urlsafe(32)
    with store.write() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.annotator == name))
        connection.execute(sa.delete(people).where(people.c.name == name))
        row = {"name": name, "invite_sha256": digest(token), "at": time.time()}
        connection.execute(sa.insert(people).values(row))
    return token


def check_name(name: str) -> None:
    """Refuse a name that could not be shown or typed.

    Raises:
        DataError: why.
    """
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME:
        raise DataError(f"annotator {name!r}: use 1 to {LONGEST_NAME} characters, no outer spaces.")
    if not name.isprintable():
        raise DataError(f"annotator {name!r}: use printable characters.")


def names(store: LabelStore) -> list[str]:
    """Everybody who was invited."""
    with store.read() as connection:
        return list(connection.scalars(sa.select(people.c.name).order_by(people.c.name)))


def log_in(store: LabelStore, token: str) -> tuple[str, Session] | None:
    """(cookie, session) for the researcher's token or an invite; None for any other."""
    sha = digest(token)
    is_admin = hmac.compare_digest(store.setting(ADMIN_TOKEN, "none"), sha)
    with store.write() as connection:
        name = connection.scalar(sa.select(people.c.name).where(people.c.invite_sha256 == sha))
        if name is None and not is_admin:
            return None
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        session = Session(
            annotator=None if is_admin else name, csrf=csrf, token_sha256=digest(cookie)
        )
        connection.execute(sa.delete(sessions).where(sessions.c.expires_at < time.time()))
        connection.execute(
            sa.insert(sessions).values(
                token_sha256=session.token_sha256,
                annotator=session.annotator,
                csrf=csrf,
                expires_at=time.time() + SESSION_SECONDS,
            )
        )
    return cookie, session


def session_of(store: LabelStore, cookie: str) -> Session | None:
    """The session of a cookie, while it lasts."""
    query = sa.select(sessions).where(
        sessions.c.token_sha256 == digest(cookie), sessions.c.expires_at > time.time()
    )
    with store.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    return Session(annotator=row.annotator, csrf=row.csrf, token_sha256=row.token_sha256)


def log_out(store: LabelStore, session: Session) -> None:
    """End a session."""
    with store.write() as connection:
        mine = sessions.c.token_sha256 == session.token_sha256
        connection.execute(sa.delete(sessions).where(mine))
