"""Tokens of programs that use the label server's REST API. Only hashes are stored."""

import secrets
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.access import check_name, token_digest
from rlhf.labels.schema import meta
from rlhf.labels.store import LabelStore

Role = Literal["read", "write"]  # a program that writes may read too
ROLES: tuple[Role, ...] = get_args(Role)
_PREFIX = "api_token:"  # of a setting: the token's hash -> role and name


@dataclass(frozen=True)
class ApiAccess:
    """Who sends a request with a token, and what it may do."""

    name: str
    role: Role


def new_api_token(store: LabelStore, name: str, role: Role) -> str:
    """A new token for the program `name`; it revokes the old one of that name.

    Raises:
        DataError: a name that cannot be shown or typed.
    """
    check_name(name)
    token = secrets.token_urlsafe(32)
    with store.write() as connection:
        _delete(connection, name)
        row = {"name": _PREFIX + token_digest(token), "value": f"{role} {name}"}
        connection.execute(sa.insert(meta).values(row))
    return token


def revoke_api_token(store: LabelStore, name: str) -> None:
    """End the token of a program.

    Raises:
        DataError: there is none of this name.
    """
    with store.write() as connection:
        if not _delete(connection, name):
            raise DataError(f"there is no API token {name!r}.", code="unknown-name")


def api_access(store: LabelStore, token: str) -> ApiAccess | None:
    """Who a token belongs to; None for an unknown token."""
    role, _, name = store.setting(_PREFIX + token_digest(token)).partition(" ")
    known = next((each for each in ROLES if each == role), None)
    return None if known is None else ApiAccess(name, known)


def _delete(connection: sa.Connection, name: str) -> int:
    """Delete the tokens of a name; returns their number."""
    is_token = meta.c.name.startswith(_PREFIX, autoescape=True)
    values = [f"{role} {name}" for role in ROLES]
    return connection.execute(sa.delete(meta).where(is_token, meta.c.value.in_(values))).rowcount
