"""People who log in: their role, and what was set for them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.records import LABEL
from rlhf.labels.roles import ANNOTATOR, ROLES
from rlhf.labels.schema import DONE, HAS_TAGS, claims, items, meta, people, sessions

PAUSED = "paused"  # setting: "1" while nobody gets items
MAX_TAGS, MAX_TAG_LENGTH = 20, 64
MAX_CAP = 10_000_000  # labels; databases do not store every integer


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person of the project. A name without an invite has the default settings."""

    name: str
    role: str = ANNOTATOR
    paused: bool = False
    cap: int | None = None  # labels after which the person gets no more items
    tags: Sequence[str] = ()
    halted: bool = False  # the administrator paused the whole campaign
    tags_matter: bool = True  # False: no item requires a tag
    has_access: bool = False  # False: it was revoked, or the name was never invited


def person_of(connection: sa.Connection, name: str) -> Person:
    """The person with this name, in one query: the queue asks before each item."""
    halted = sa.select(meta.c.value).where(meta.c.name == PAUSED).scalar_subquery()
    tagged = sa.select(items.c.id).where(HAS_TAGS).limit(1).scalar_subquery()
    campaign = (halted.label("halted"), tagged.label("tagged"))
    row = connection.execute(sa.select(people, *campaign).where(people.c.name == name)).first()
    if row is None:
        return Person(name=name, halted=is_paused(connection))
    return replace(_person(row), halted=row.halted == "1", tags_matter=row.tagged is not None)


def everyone(connection: sa.Connection) -> list[Person]:
    """Everybody who was invited, by name."""
    return [_person(row) for row in connection.execute(sa.select(people).order_by(people.c.name))]


def _person(row: sa.Row[Any]) -> Person:
    values = row._mapping
    return Person(
        name=values["name"],
        role=values["role"],
        paused=bool(values["paused"]),
        cap=values["cap"],
        tags=tuple(values["tags"]),
        has_access=values["invite_sha256"] is not None,
    )


def update_person(
    connection: sa.Connection,
    name: str,
    *,
    role: str | None = None,
    paused: bool | None = None,
    cap: int | None = None,
    no_cap: bool = False,
    tags: Sequence[str] | None = None,
) -> Person:
    """Change a person's settings; None leaves one unchanged. Returns the new settings.

    Args:
        connection: in a transaction.
        name: an invited person.
        role: one of `ROLES`.
        paused: whether they get no items for now; the item that they hold stays theirs.
        cap: the number of labels after which they get no more items.
        no_cap: remove the cap.
        tags: languages and skills; items that require a tag go only to people who have it.

    Raises:
        DataError: an unknown person or role, or a tag that is empty or too long.
    """
    known = connection.execute(sa.select(people).where(people.c.name == name)).first()
    if known is None:
        raise DataError(
            f"{name!r} was not invited; use `rlhf label invite`, or `rlhf label people --add` for "
            "somebody who logs in without a link.",
            code="unknown-name",
        )
    person = _person(known)
    if role is not None:
        person = replace(person, role=_checked_role(role))
    if paused is not None:
        person = replace(person, paused=paused)
    if cap is not None or no_cap:
        person = replace(person, cap=None if no_cap else cap)
    if tags is not None:
        person = replace(person, tags=tuple(checked_tags(tags)))
    update = sa.update(people).where(people.c.name == name)
    values = {"role": person.role, "paused": int(person.paused), "cap": person.cap}
    connection.execute(update.values(**values, tags=list(person.tags)))
    return person


def revoke(connection: sa.Connection, name: str) -> None:
    """End a person's link and sessions; their labels and settings stay.

    Raises:
        DataError: an unknown person.
    """
    update = sa.update(people).where(people.c.name == name).values(invite_sha256=None)
    if connection.execute(update).rowcount == 0:
        raise DataError(f"{name!r} was not invited.", code="unknown-name")
    connection.execute(sa.delete(sessions).where(sessions.c.annotator == name))


def is_paused(connection: sa.Connection) -> bool:
    """Whether the whole campaign is paused."""
    return queries.setting(connection, PAUSED, "") == "1"


def pause_everyone(connection: sa.Connection, paused: bool) -> None:
    """Pause or continue the campaign."""
    if paused:
        queries.set_setting(connection, PAUSED, "1")
    else:
        connection.execute(sa.delete(meta).where(meta.c.name == PAUSED))


def num_labels(connection: sa.Connection, name: str) -> int:
    """Items that a person has labelled, without gold items and repeats."""
    query = sa.select(sa.func.count()).select_from(claims)
    own = query.where(claims.c.annotator == name, claims.c.state == DONE, claims.c.purpose == LABEL)
    return int(connection.scalar(own) or 0)


def requirement(tags: Collection[str]) -> str:
    """The column `items.requires` for these tags: sorted, each followed by a line feed."""
    return "".join(f"{tag}\n" for tag in sorted(set(tags)))


def set_requirements(connection: sa.Connection, tags_of_items: dict[int, Sequence[str]]) -> None:
    """Set the tags that an annotator of an item needs, by item id.

    Raises:
        DataError: a tag that is empty or too long.
    """
    for item_id, tags in tags_of_items.items():
        value = requirement(checked_tags(tags))
        connection.execute(sa.update(items).where(items.c.id == item_id).values(requires=value))


def suitable_tags(connection: sa.Connection, person: Person) -> sa.ColumnElement[bool] | None:
    """A condition on items whose tags the person has; None if no item requires a tag.

    Items share few combinations of tags, so each combination is compared here, once.
    """
    if not person.tags_matter:
        return None
    # A literal condition: with a bound value SQLite would not use the index of these rows.
    query = sa.select(items.c.requires).distinct().where(HAS_TAGS)
    required = connection.scalars(query).all()
    if not required:
        return None
    own = set(person.tags)
    suitable = [value for value in required if set(value.split("\n")[:-1]) <= own]
    return items.c.requires.in_(["", *suitable])


def checked_tags(tags: Sequence[str]) -> list[str]:
    """The tags without repeats and outer spaces, sorted.

    Raises:
        DataError: too many, or one that is empty, too long or not printable.
    """
    stripped = sorted({tag.strip() for tag in tags})
    for tag in stripped:
        if not tag or len(tag) > MAX_TAG_LENGTH or not tag.isprintable():
            raise DataError(
                f"tag {tag!r}: use 1 to {MAX_TAG_LENGTH} printable characters.", code="bad-value"
            )
    if len(stripped) > MAX_TAGS:
        raise DataError(f"{len(stripped)} tags; use at most {MAX_TAGS}.", code="bad-value")
    return stripped


def _checked_role(role: str) -> str:
    if role not in ROLES:
        raise DataError(f"role {role!r} is not one of {', '.join(ROLES)}.", code="bad-value")
    return role
