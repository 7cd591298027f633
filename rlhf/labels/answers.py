"""Answers to the form's criteria: checked, put into the stored order, exported as columns."""

from collections.abc import Mapping, Sequence

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import DataError
from rlhf.labels.criteria import (
    OVERALL,
    About,
    AnswerType,
    Checklist,
    Choice,
    Criterion,
    Rating,
    Spans,
    Text,
)

COLUMN = "criteria."  # prefix of the columns of an exported label


def stored_answers(
    answers: Mapping[str, object],
    criteria: Sequence[Criterion],
    order_shown: Sequence[int],
    ranks: Sequence[int],
    responses: Sequence[str],
) -> dict[str, object]:
    """Criterion -> its answer; a criterion without any answer is left out.

    An answer about each response is K answers in the stored order, None for a response without
    one. Answers about the best or the worst are `{"response", "answer"}` of each such response: a
    reason belongs to its response. Those that were given for a response which is no longer the
    best or the worst are left out.

    Args:
        answers: of the page; all but those about the item are K answers in the order shown.
        criteria: of the form.
        order_shown: K indices into the stored responses, first shown first.
        ranks: K, in the stored order.
        responses: K stored texts, needed if the form marks passages.

    Raises:
        DataError: an unknown criterion, an answer of another kind, a required one that is missing.
    """
    if unknown := set(answers) - {criterion.name for criterion in criteria}:
        raise DataError(
            f"{min(unknown)!r} is not in this form; reload the page to see the current one.",
            code="bad-label",
        )
    stored: dict[str, object] = {}
    for criterion in criteria:
        given = answers.get(criterion.name)
        if criterion.about == "item":
            answer = _checked(criterion, given, "")
            if answer is not None:
                stored[criterion.name] = answer
            elif criterion.required:
                raise _missing(criterion, "")
            continue
        asked = asked_responses(criterion.about, ranks)
        of_response = _in_stored_order(criterion, given, order_shown, responses, asked)
        if all(answer is None for answer in of_response):
            continue
        stored[criterion.name] = of_response if criterion.about == "response" else ends(of_response)
    return stored


def asked_responses(about: About, ranks: Sequence[int]) -> list[int]:
    """Indices of the responses that a criterion about `about` asks for.

    about: "response" for all of them; "best" or "worst" for those with that rank, and for none if
        all are equal.
    """
    if about == "response":
        return list(range(len(ranks)))
    if len(set(ranks)) < 2:
        return []
    end = min(ranks) if about == "best" else max(ranks)
    return [index for index, rank in enumerate(ranks) if rank == end]


def ends(of_response: Sequence[object]) -> list[dict[str, object]]:
    """Answers about the best or the worst as they are stored: those that there are."""
    return [
        {"response": index, "answer": answer}
        for index, answer in enumerate(of_response)
        if answer is not None
    ]


def by_response(value: object, count: int) -> list[object] | None:
    """A stored answer as K answers, None for a response without one; None if it has no such form.

    value: K answers, or those about the best or the worst.
    """
    if not isinstance(value, list):
        return None
    if value and all(isinstance(one, dict) and set(one) == {"response", "answer"} for one in value):
        answers: list[object] = [None] * count
        for one in value:
            answers[one["response"]] = one["answer"]
        return answers
    return value if len(value) == count else None


def _in_stored_order(
    criterion: Criterion,
    given: object,
    order_shown: Sequence[int],
    responses: Sequence[str],
    asked: Sequence[int],
) -> list[object]:
    count = len(order_shown)
    values = [None] * count if given is None else given
    if not isinstance(values, list) or len(values) != count:
        raise DataError(
            f"{criterion.name} has no list of {count} answers, one for each response.",
            code="bad-label",
        )
    stored: list[object] = [None] * count
    for place, (value, index) in enumerate(zip(values, order_shown, strict=True)):
        if index not in asked:
            continue
        stored[index] = _checked(criterion, value, responses[index] if responses else "")
        if stored[index] is None and criterion.required:
            raise _missing(criterion, f" of response {chr(65 + place)}")
    return stored


def _missing(criterion: Criterion, place: str) -> DataError:
    return DataError(
        f"{criterion.name}{place} needs an answer; reload the page if it does not ask for it.",
        code="bad-label",
    )


def _checked(criterion: Criterion, value: object, response: str) -> object | None:
    """The answer as it is stored; None if it is empty.

    Raises:
        DataError: an answer that does not fit the criterion.
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value in ("", [], {}):
        return None
    if not _fits(criterion.answer, value, split_thought(response)[1]):
        raise DataError(
            f"{str(value)[:80]!r} is not an answer of {criterion.name}, a {criterion.kind}.",
            code="bad-label",
        )
    if isinstance(criterion.answer, Spans):
        return _spans_of_response(value, response)
    return value


def _fits(answer: AnswerType, value: object, shown: str) -> bool:
    match answer:
        case Rating(low=low, high=high):
            return type(value) is int and low <= value <= high
        case Choice(options=options, several=False):
            return value in options
        case Choice(options=options):
            return (
                isinstance(value, list)
                and all(option in options for option in value)
                and len({str(option) for option in value}) == len(value)
            )
        case Text():
            return isinstance(value, str)
        case Spans(options=options):
            return isinstance(value, list) and all(_is_span(s, shown, options) for s in value)
        case Checklist(statements=statements):
            return isinstance(value, dict) and set(value) == set(statements)


def _is_span(span: object, shown: str, options: Sequence[str]) -> bool:
    """Whether the offsets, in characters of the shown text, enclose the quoted passage."""
    if not isinstance(span, dict):
        return False
    start, end, text = (span.get(key) for key in ("start", "end", "text"))
    if not isinstance(start, int) or not isinstance(end, int) or span.get("option") not in options:
        return False
    return 0 <= start < end <= len(shown) and shown[start:end] == text


def _spans_of_response(value: object, response: str) -> list[dict[str, object]]:
    """Spans in characters of the stored response, whose thought the page shows separately."""
    assert isinstance(value, list)
    shift = len(response) - len(split_thought(response)[1])
    spans = [{**span, "start": span["start"] + shift, "end": span["end"] + shift} for span in value]
    return sorted(spans, key=lambda span: (span["start"], span["end"]))


def answer_columns(extra: Mapping[str, object]) -> dict[str, object]:
    """The answers of a label as columns `criteria.NAME`."""
    answers = extra.get("criteria")
    if not isinstance(answers, Mapping):
        return {}
    return {f"{COLUMN}{name}": answer for name, answer in answers.items()}


def answers_of_columns(row: Mapping[str, object]) -> dict[str, object]:
    """The answers in the columns of an exported row: the inverse of `answer_columns`."""
    return {
        name.removeprefix(COLUMN): value
        for name, value in row.items()
        if name.startswith(COLUMN) and value is not None
    }


def ratings_of(extra: Mapping[str, object], count: int) -> list[dict[str, float]]:
    """For each of `count` responses, axis -> rating.

    Axes are criteria with a rating of each response, the form's own `overall`, and checklists,
    whose value is the share of statements that hold.
    """
    answers = extra.get("criteria")
    by_axis = dict(answers) if isinstance(answers, Mapping) else {}
    if OVERALL in extra:
        by_axis[OVERALL] = extra[OVERALL]
    ratings: list[dict[str, float]] = [{} for _ in range(count)]
    for axis, values in by_axis.items():
        if isinstance(values, list) and len(values) == count:
            for of_response, value in zip(ratings, values, strict=True):
                if (rating := _rating(value)) is not None:
                    of_response[axis] = rating
    return ratings


def _rating(value: object) -> float | None:
    """The number of a rating or of a checklist; None for an answer of another kind."""
    if type(value) is int:
        return float(value)
    if isinstance(value, dict) and value and all(type(held) is bool for held in value.values()):
        return sum(value.values()) / len(value)
    return None
