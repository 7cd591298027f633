"""Answers to the form's criteria: how often each was given, and how well annotators agree.

Ratings are on an ordinal scale and choices on a nominal one. Each option of a choice of several,
each kind of passages and each statement of a checklist is a decision of its own, yes or no.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from rlhf.labels.agreement import UNDEFINED, Alpha, Distance, nominal, ordinal, value_alpha
from rlhf.labels.answers import asked_responses, by_response
from rlhf.labels.criteria import OVERALL, Checklist, Choice, Criterion, Rating, Spans, Text
from rlhf.labels.form_config import FormConfig
from rlhf.labels.records import StoredLabel

YES, NO = "yes", "no"
SAMPLES = 200  # of the bootstrap; a form has many criteria
OWN_RATING = Criterion(name=OVERALL, answer=Rating(low=1, high=7))


@dataclass(frozen=True, kw_only=True)
class CriterionStats:
    """One criterion, or one option or statement of it."""

    name: str
    kind: str
    about: str
    forms: Sequence[int]  # versions of the form that asked
    answers: int
    counts: Mapping[str, int]  # value -> number, in the order of the scale; empty for texts
    mean: float | None  # of ratings
    alpha: Alpha  # n=0 for texts, and without units of two annotators


@dataclass(frozen=True, kw_only=True)
class AnswerStats:
    """The answers of a store's labels."""

    criteria: Sequence[CriterionStats]
    unknown: int  # labels with answers in a form that the store does not have: not counted


@dataclass
class _Asked:
    """A criterion with all its answers."""

    criterion: Criterion
    forms: set[int] = field(default_factory=set)
    # Item, response (None: about the item), annotator, answer (None: none was given).
    given: list[tuple[int, int | None, str, object]] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """What is counted."""

    name: str
    values: Sequence[str]
    distance: Distance
    value_of: Callable[[object], str | None]  # of an answer; None: not answered


def answer_stats(labels: Sequence[StoredLabel], forms: Mapping[int, FormConfig]) -> AnswerStats:
    """Statistics of the answers to the criteria that have any.

    Criteria of the same name and scale are one, whichever version of the form asked.

    Args:
        labels: of the annotators.
        forms: version -> form.
    """
    asked: dict[tuple[str, str], _Asked] = {}
    unknown = 0
    for label in labels:
        form = forms.get(label.form_version)
        if form is None:
            unknown += "criteria" in label.extra
            continue
        for criterion in _criteria(form):
            key = (criterion.name, _scale(criterion))
            one = asked.setdefault(key, _Asked(criterion))
            one.forms.add(label.form_version)
            one.given += _given(label, criterion)
    stats = [_stats(one, part) for one in asked.values() for part in _parts(one.criterion)]
    return AnswerStats(criteria=[one for one in stats if one.answers], unknown=unknown)


def _criteria(form: FormConfig) -> list[Criterion]:
    """The form's criteria, and its own rating of each response."""
    return [*form.criteria, *([OWN_RATING] if form.overall else [])]


def _scale(criterion: Criterion) -> str:
    """What makes two criteria of one name the same; words may change."""
    values = asdict(criterion.answer)
    values.pop("words", None)
    return json.dumps([criterion.kind, criterion.about, values])


def _given(label: StoredLabel, criterion: Criterion) -> list[tuple[int, int | None, str, object]]:
    answers = label.extra.get("criteria")
    by_name = answers if isinstance(answers, Mapping) else {}
    value = label.extra.get(OVERALL) if criterion.name == OVERALL else by_name.get(criterion.name)
    if criterion.about == "item":
        return [(label.item_id, None, label.annotator, value)]
    of_response = by_response(value, len(label.ranks)) or [None] * len(label.ranks)
    return [
        (label.item_id, index, label.annotator, of_response[index])
        for index in asked_responses(criterion.about, label.ranks)
    ]


def _parts(criterion: Criterion) -> list[_Part]:
    name = criterion.name
    match criterion.answer:
        case Rating(low=low, high=high):
            return [_Part(name, [str(n) for n in range(low, high + 1)], ordinal, _as_text)]
        case Choice(options=options, several=False):
            return [_Part(name, options, nominal, _as_text)]
        case Choice(options=options) | Spans(options=options):
            return [
                _Part(f"{name}: {option}", (YES, NO), nominal, partial(_is_chosen, option))
                for option in options
            ]
        case Checklist(statements=statements):
            return [
                _Part(f"{name}: {statement}", (YES, NO), nominal, partial(_holds, statement))
                for statement in statements
            ]
        case Text():
            return [_Part(name, (), nominal, _as_text)]


def _as_text(answer: object) -> str | None:
    return None if answer is None else str(answer)


def _is_chosen(option: str, answer: object) -> str:
    """Whether an option was chosen, or a passage of its kind marked; nothing chosen means no."""
    chosen = answer if isinstance(answer, list) else []
    return YES if any(option in (one, _option(one)) for one in chosen) else NO


def _option(passage: object) -> object:
    return passage.get("option") if isinstance(passage, Mapping) else None


def _holds(statement: str, answer: object) -> str | None:
    held = answer.get(statement) if isinstance(answer, Mapping) else None
    return None if held is None else YES if held else NO


def _stats(asked: _Asked, part: _Part) -> CriterionStats:
    values = [
        (item, index, annotator, value)
        for item, index, annotator, answer in asked.given
        # An imported answer may be outside the scale of its form.
        if (value := part.value_of(answer)) is not None and value in (part.values or (value,))
    ]
    counts = dict.fromkeys(part.values, 0)
    units: dict[int, dict[int | None, dict[str, int]]] = {}
    for item, index, annotator, value in values if part.values else ():
        counts[value] += 1
        unit = units.setdefault(item, {}).setdefault(index, {})
        unit[annotator] = part.values.index(value)  # two labels of one annotator are no agreement
    by_item = {item: [list(one.values()) for one in of.values()] for item, of in units.items()}
    return CriterionStats(
        name=part.name,
        kind=asked.criterion.kind,
        about=asked.criterion.about,
        forms=sorted(asked.forms),
        answers=len(values),
        counts=counts,
        mean=_mean(counts) if asked.criterion.kind == "rating" else None,
        alpha=value_alpha(by_item, part.distance, samples=SAMPLES) if by_item else UNDEFINED,
    )


def _mean(counts: Mapping[str, int]) -> float | None:
    total = sum(counts.values())
    return sum(int(value) * count for value, count in counts.items()) / total if total else None
