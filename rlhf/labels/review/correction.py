"""Fields of a form that a researcher corrects, in the order of the stored responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.errors import DataError
from rlhf.labels.answers import asked_responses, by_response, ends, stored_answers
from rlhf.labels.criteria import Spans
from rlhf.labels.form_config import FormConfig
from rlhf.labels.records import StoredLabel

CHOSEN = ("scale", "both_bad")  # what else in `extra` describes the ranks


@dataclass(frozen=True, kw_only=True)
class CorrectedFields:
    """New values of the form; None leaves a field as it is.

    answers: criterion -> answer; K answers unless it is about the item. They replace all answers
        but marked passages.
    """

    answers: Mapping[str, object] | None = None
    overall: Sequence[int | None] | None = None  # K
    flags: Sequence[Sequence[str]] | None = None  # K


NOTHING = CorrectedFields()


def corrected_extra(
    old: StoredLabel, ranks: Sequence[int], fields: CorrectedFields, form: FormConfig | None
) -> dict[str, object]:
    """The label's `extra` after a correction.

    Without new answers, those about the best and the worst remain for the responses that still are.

    Args:
        old: the label.
        ranks: its new ranks, K.
        fields: new values.
        form: the form of the label; None if the store does not have it.

    Raises:
        DataError: a value that does not fit the form, or fields of an unknown form.
    """
    left_out = ("form", *(CHOSEN if list(ranks) != list(old.ranks) else ()))
    extra = {key: value for key, value in old.extra.items() if key not in left_out}
    if form is None:
        if fields != NOTHING:
            raise DataError(
                "the store does not have the form of this label; correct its ranks only.",
                code="not-allowed",
            )
        return extra
    count = len(old.ranks)
    if fields.answers is not None:
        answers = {**_passages(old, form), **_checked(fields.answers, form, ranks)}
    else:
        answers = _still_asked(old, form, ranks)
    new: dict[str, object] = {"criteria": answers} if answers or "criteria" in extra else {}
    if fields.overall is not None:
        new["overall"] = _checked_overall(fields.overall, form, count)
    if fields.flags is not None:
        new["flags"] = _checked_flags(fields.flags, form, count)
    return {key: value for key, value in {**extra, **new}.items() if value or key not in new}


def _checked(
    answers: Mapping[str, object], form: FormConfig, ranks: Sequence[int]
) -> dict[str, object]:
    """The answers as they are stored. The researcher need not answer what was not asked."""
    criteria = [
        replace(one, required=False) for one in form.criteria if not isinstance(one.answer, Spans)
    ]
    return stored_answers(answers, criteria, range(len(ranks)), ranks, ())


def _passages(old: StoredLabel, form: FormConfig) -> dict[str, object]:
    names = [one.name for one in form.criteria if isinstance(one.answer, Spans)]
    stored = _answers(old)
    return {name: stored[name] for name in names if name in stored}


def _still_asked(old: StoredLabel, form: FormConfig, ranks: Sequence[int]) -> dict[str, object]:
    answers = dict(_answers(old))
    for criterion in form.criteria:
        if criterion.about not in ("best", "worst") or criterion.name not in answers:
            continue
        asked = asked_responses(criterion.about, ranks)
        given = by_response(answers.pop(criterion.name), len(ranks)) or []
        kept = ends([one if index in asked else None for index, one in enumerate(given)])
        if kept:
            answers[criterion.name] = kept
    return answers


def _answers(label: StoredLabel) -> Mapping[str, object]:
    answers = label.extra.get("criteria")
    return answers if isinstance(answers, Mapping) else {}


def _checked_overall(
    overall: Sequence[int | None], form: FormConfig, count: int
) -> list[int | None]:
    if not form.overall or len(overall) != count:
        raise DataError(
            f"overall has {len(overall)} ratings; this form takes {count if form.overall else 0}.",
            code="bad-label",
        )
    return [] if all(one is None for one in overall) else list(overall)


def _checked_flags(flags: Sequence[Sequence[str]], form: FormConfig, count: int) -> list[list[str]]:
    unknown = {flag for of_response in flags for flag in of_response} - set(form.flags)
    if unknown:
        raise DataError(f"flag {min(unknown)!r} is not in this form.", code="bad-label")
    if len(flags) != count:
        raise DataError(
            f"flags has {len(flags)} lists; give one for each of the {count} responses.",
            code="bad-label",
        )
    return [list(of_response) for of_response in flags] if any(flags) else []
