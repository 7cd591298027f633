"""Questions of annotators, and the researcher's answers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.database import new_id
from rlhf.labels.guidelines import newest_guideline, publish_guideline
from rlhf.labels.schema import questions
from rlhf.labels.store import LabelStore

MAX_OPEN = 20  # questions of one annotator that wait for an answer
HEADING = "## Questions and answers"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and its answer."""

    id: int
    item_id: int | None
    annotator: str
    at: float
    text: str
    answer: str | None
    answered_at: float | None


def ask(store: LabelStore, annotator: str, text: str, item_id: int | None) -> int:
    """Store an annotator's question; returns its id.

    Raises:
        DataError: an empty question, or too many that wait.
    """
    if not text.strip():
        raise DataError("the question is empty.", code="missing-key")
    with store.write() as connection:
        waiting = sa.select(sa.func.count()).select_from(questions)
        own = waiting.where(questions.c.annotator == annotator, questions.c.answer.is_(None))
        if (connection.scalar(own) or 0) >= MAX_OPEN:
            raise DataError(
                f"{MAX_OPEN} of your questions wait for an answer; wait for some.", code="busy"
            )
        row = {"annotator": annotator, "text": text.strip(), "item_id": item_id, "at": time.time()}
        return new_id(connection, sa.insert(questions).values(**row))


def questions_of(store: LabelStore, annotator: str | None = None) -> Sequence[Question]:
    """Questions of one annotator, or of all: first those without an answer, newest first."""
    query = sa.select(questions).order_by(questions.c.answer.is_not(None), questions.c.id.desc())
    if annotator is not None:
        query = query.where(questions.c.annotator == annotator)
    with store.read() as connection:
        return [Question(**row._asdict()) for row in connection.execute(query)]


def answer(store: LabelStore, question_id: int, text: str, *, in_guideline: bool) -> int:
    """Store the answer to a question; returns the version of the guideline.

    in_guideline: also add question and answer to the end of the guideline, as a new version, which
        opens for every annotator. The name of the person who asked is not added.

    Raises:
        DataError: no such question, or an empty answer.
    """
    text = text.strip()
    if not text:
        raise DataError("the answer is empty.", code="missing-key")
    with store.write() as connection:
        row = connection.execute(sa.select(questions).where(questions.c.id == question_id)).first()
        if row is None:
            raise DataError(f"question {question_id} does not exist.", code="unknown-name")
        update = sa.update(questions).where(questions.c.id == question_id)
        connection.execute(update.values(answer=text, answered_at=time.time()))
        version, guideline = newest_guideline(connection)
        if in_guideline:
            return publish_guideline(connection, with_answer(guideline, row.text, text), version)
        return version


def with_answer(guideline: str, question: str, text: str) -> str:
    """The guideline with a question and its answer at its end, below a heading of their own."""
    parts = [guideline.rstrip()] if guideline.strip() else []
    if HEADING not in guideline.splitlines():
        parts.append(HEADING)
    quoted = "\n".join(f"> {line}" for line in question.splitlines())
    return "\n\n".join([*parts, quoted, text]) + "\n"
