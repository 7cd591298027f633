"""Who saw and who changed what: the table `audit`, together with the claims and the event log.

An item that was shown to an annotator is a claim, and what they did with it is an event. The table
has what those two do not tell: logins, what researchers, adjudicators and programs saw and
changed, and commands that change access. So labelling writes nothing more than without an audit.
"""

import heapq
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rlhf.labels.roles import ADMIN, ANNOTATOR
from rlhf.labels.schema import ADMINISTRATOR, COMMAND_LINE, audit, claims, events

LONGEST_TEXT, LONGEST_LIST, LONGEST_ENTRY = 200, 20, 4000  # characters, parts, characters
SAW = "saw item"  # action of a claim


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One thing that somebody saw or changed."""

    at: float  # seconds since 1970
    who: str  # a person, a program, or a name in parentheses
    role: str | None  # at that time; None for events, which do not record it
    action: str  # method and path of a request, `rlhf label COMMAND`, SAW, or the kind of an event
    item_id: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    source: str = "audit"  # or "claims", "events"


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """The entries to list."""

    who: str = ""  # "" for all
    item_id: int | None = None
    since: float = 0.0  # seconds since 1970


def record(
    connection: sa.Connection,
    *,
    who: str,
    role: str,
    action: str,
    item_id: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Append an entry with the present time; long texts and lists in `details` are cut."""
    row = {"at": time.time(), "who": who, "role": role, "action": action, "item_id": item_id}
    connection.execute(sa.insert(audit).values(**row, details=shortened(details or {})))


def record_command(connection: sa.Connection, command: str, details: Mapping[str, object]) -> None:
    """Append an entry for a command that changed access, or erased something."""
    action = f"rlhf label {command}"
    record(connection, who=COMMAND_LINE, role=ADMIN, action=action, details=details)


def shortened(details: Mapping[str, object]) -> dict[str, object]:
    """The details with long texts and lists cut, and replaced as a whole if still too long."""
    cut = {key: _shortened(value) for key, value in details.items()}
    size = len(json.dumps(cut))
    return cut if size <= LONGEST_ENTRY else {"left_out": f"{size} characters"}


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "…"
    if isinstance(value, list):
        more = [f"… {len(value) - LONGEST_LIST} more"] if len(value) > LONGEST_LIST else []
        return [*map(_shortened, value[:LONGEST_LIST]), *more]
    if isinstance(value, Mapping):
        return {key: _shortened(one) for key, one in value.items()}
    return value


def since_days(days: float, *, now: float) -> float:
    """The time `days` before `now`, in seconds since 1970; 0.0 for 0 days, since the beginning."""
    return now - 86_400 * days if days else 0.0


def entries(connection: sa.Connection, wanted: AuditFilter) -> Iterator[AuditEntry]:
    """The entries of the table, the claims and the events that fit, oldest first."""
    sources = (
        _recorded(connection, wanted),
        _seen(connection, wanted),
        _logged(connection, wanted),
    )
    return heapq.merge(*sources, key=lambda entry: entry.at)


def as_row(entry: AuditEntry) -> dict[str, object]:
    """The entry as a row of a JSONL file; `time` is UTC."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.at))
    return {
        "time": moment,
        "at": entry.at,
        "who": entry.who,
        "role": entry.role,
        "action": entry.action,
        "item_id": entry.item_id,
        "details": dict(entry.details),
        "source": entry.source,
    }


def _recorded(connection: sa.Connection, wanted: AuditFilter) -> Sequence[AuditEntry]:
    return [
        AuditEntry(
            at=row.at,
            who=row.who,
            role=row.role,
            action=row.action,
            item_id=row.item_id,
            details=row.details,
        )
        for row in _rows(connection, audit, wanted, audit.c.who == wanted.who)
    ]


def _seen(connection: sa.Connection, wanted: AuditFilter) -> Sequence[AuditEntry]:
    return [
        AuditEntry(
            at=row.at,
            who=row.annotator,
            role=ANNOTATOR,
            action=SAW,
            item_id=row.item_id,
            details={"claim_id": row.id, "purpose": row.purpose},
            source="claims",
        )
        for row in _rows(connection, claims, wanted, claims.c.annotator == wanted.who)
    ]


def _logged(connection: sa.Connection, wanted: AuditFilter) -> Sequence[AuditEntry]:
    # Who decided is in the payload, which is compared below.
    decided = sa.cast(events.c.payload, sa.String).contains('"by"')
    may_be_who = sa.or_(events.c.annotator == wanted.who, decided)
    logged = [_of_event(row) for row in _rows(connection, events, wanted, may_be_who)]
    return [one for one in logged if wanted.who in ("", one.who)]


def _of_event(row: sa.Row[Any]) -> AuditEntry:
    payload = row.payload
    correction = (payload.get("extra") or {}).get("corrected") or {}
    who = payload.get("by") or correction.get("by") or row.annotator
    details: dict[str, object] = {"event_id": row.id}
    if row.undoes is not None:
        details["undoes"] = row.undoes
    if who != row.annotator and row.annotator != ADMINISTRATOR:
        details["annotator"] = row.annotator
    if reason := payload.get("reason") or correction.get("reason"):
        details["reason"] = reason
    return AuditEntry(
        at=row.at,
        who=who,
        role=None,
        action=row.kind,
        item_id=row.item_id,
        details=details,
        source="events",
    )


def _rows(
    connection: sa.Connection,
    table: sa.Table,
    wanted: AuditFilter,
    is_who: sa.ColumnElement[bool],
) -> sa.CursorResult[Any]:
    """The rows that fit, oldest first; `is_who` is the condition of a filter by person."""
    query = sa.select(table).where(table.c.at >= wanted.since)
    if wanted.item_id is not None:
        query = query.where(table.c.item_id == wanted.item_id)
    if wanted.who:
        query = query.where(is_who)
    return connection.execute(query.order_by(table.c.at, table.c.id))
