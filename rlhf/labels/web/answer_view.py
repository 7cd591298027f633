"""Answers to a form's criteria as texts, for the page of an item."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.answers import by_response
from rlhf.labels.criteria import AnswerType, Checklist, Criterion, Rating, Spans, as_json
from rlhf.labels.form_config import FormConfig
from rlhf.labels.records import StoredLabel


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """A label's answers to one criterion."""

    title: str
    question: str  # as the annotator read it; "" if the form is unknown
    of_responses: Sequence[str] | None  # K texts, "" without an answer; None: about the item
    of_item: str


def answer_rows(label: StoredLabel, forms: Mapping[int, FormConfig]) -> list[AnswerRow]:
    """The answers of a label, in the order of the form that it was given in.

    forms: version -> form. The answers of a label whose form the store does not have are shown
        without their questions.
    """
    answers = label.extra.get("criteria")
    if not isinstance(answers, Mapping):
        return []
    form = forms.get(label.form_version)
    criteria = {one.name: one for one in form.criteria} if form else {}
    names = [name for name in criteria if name in answers]
    names += [name for name in answers if name not in criteria]
    return [_row(name, answers[name], criteria.get(name), len(label.ranks)) for name in names]


def _row(name: str, value: object, criterion: Criterion | None, count: int) -> AnswerRow:
    answer = criterion.answer if criterion else None
    about = criterion.about if criterion else "response"
    of_responses = None if about == "item" else by_response(value, count)
    return AnswerRow(
        title=f"{name} ({about})" if about in ("best", "worst") else name,
        question=criterion.question if criterion else "",
        of_responses=None if of_responses is None else [_text(answer, one) for one in of_responses],
        of_item=_text(answer, value) if of_responses is None else "",
    )


def _text(answer: AnswerType | None, value: object) -> str:
    """One answer as a text."""
    if value is None:
        return ""
    if isinstance(answer, Rating) and isinstance(value, int):
        return _rating_text(answer, value)
    if isinstance(answer, Checklist) and isinstance(value, dict):
        return "\n".join(f"{'yes' if held else 'no'}: {text}" for text, held in value.items())
    if isinstance(answer, Spans) and isinstance(value, list):
        return "\n".join(f"{span['option']}: {span['text']}" for span in value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rating_text(rating: Rating, value: int) -> str:
    """The number, with its word if it has one."""
    ends = {rating.low: 0, rating.high: -1}
    if len(rating.words) == 2:
        word = rating.words[ends[value]] if value in ends else ""
    else:
        word = rating.words[value - rating.low] if rating.words else ""
    return f"{value}, {word}" if word else str(value)


def correction_form(label: StoredLabel, forms: Mapping[int, FormConfig]) -> dict[str, object]:
    """What the dialog of a correction needs: the label's form and its present values.

    Responses are in the stored order. Passages are not corrected.
    """
    form = forms.get(label.form_version)
    stored = label.extra.get("criteria")
    answers = stored if form and isinstance(stored, Mapping) else {}
    criteria = [one for one in form.criteria if not isinstance(one.answer, Spans)] if form else []
    count = len(label.ranks)
    return {
        "ranks": list(label.ranks),
        "criteria": [as_json(one) for one in criteria],
        "flags": list(form.flags) if form else [],
        "overall": form.overall if form else False,
        "answers": {
            one.name: answers[one.name]
            if one.about == "item"
            else by_response(answers[one.name], count)
            for one in criteria
            if one.name in answers
        },
        "given_flags": label.extra.get("flags") or [[] for _ in label.ranks],
        "given_overall": label.extra.get("overall") or [None for _ in label.ranks],
    }
