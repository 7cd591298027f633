"""Checks of candidates and labels before they enter the store."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TypeGuard

from rlhf.data.rows.parse_ranking import MAX_STRENGTH
from rlhf.errors import DataError
from rlhf.labels.records import Candidate, Label
from rlhf.runtime.printing import counted


def content_sha256(candidate: Candidate) -> str:
    """Hash of the prompt and its responses; the models that wrote them are not part of it."""
    content = [candidate.prompt, list(candidate.responses)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_arguments(candidate: Candidate) -> None:
    """Raise DataError for an item of `LabelStore.add` of the wrong type, or an empty prompt."""
    for name, texts in (("responses", candidate.responses), ("models", candidate.models)):
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            raise DataError(
                f"{name}={texts!r} is not a list of texts; give one text for each response.",
                code="bad-value",
            )
    prompt = candidate.prompt
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    is_result = not isinstance(prompt, str) and prompt[-1]["role"] == "tool"
    if not text.strip() and not is_result:  # a tool may have returned nothing
        raise DataError("the prompt is empty; give a text or messages.", code="bad-value")
    check_candidate(candidate, 1)


def whole_ranks(ranks: object) -> list[int]:
    """The ranks as a list of ints, which JSON can store; also from integers or arrays of NumPy.

    Raises:
        DataError: not a list of whole numbers.
    """
    values = ranks.tolist() if hasattr(ranks, "tolist") else ranks
    if not isinstance(values, list | tuple) or not all(map(_is_whole, values)):
        raise DataError(
            f"ranks={ranks!r} is not a list of whole numbers; give one rank for each response.",
            code="bad-value",
        )
    return [int(rank) for rank in values]


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def check_annotation(annotator: object, strength: object) -> float:
    """The strength as a float, if it and the annotator's name can be stored.

    Raises:
        DataError: an annotator that is not a text, or a strength that training would reject.
    """
    if not isinstance(annotator, str):
        raise DataError(f"annotator={annotator!r} is not a text; give a name.", code="bad-value")
    if not _is_number(strength) or not 0 < float(strength) < MAX_STRENGTH:
        raise DataError(
            f"strength={strength!r} is not a number above 0 and below {MAX_STRENGTH:g}; use 1.0 "
            "for an ordinary preference.",
            code="bad-value",
        )
    return float(strength)


def _is_number(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_priorities(priorities: Mapping[int, float]) -> None:
    """Raise DataError for a priority that is not a finite number, 0 or more."""
    for item_id, priority in priorities.items():
        if not _is_number(priority) or not 0 <= float(priority) < math.inf:
            raise DataError(
                f"priority {priority!r} of item {item_id} is not a finite number, 0 or more.",
                code="bad-value",
            )


def check_gold(candidates: Sequence[Candidate], ranks: Sequence[Sequence[int]]) -> list[list[int]]:
    """The known ranks of each candidate as lists of ints, if they fit the candidates.

    Raises:
        DataError: another number of rank lists than of candidates, or ranks that do not fit.
    """
    if len(ranks) != len(candidates):
        raise DataError(
            f"{counted(len(candidates), 'candidate')} with {counted(len(ranks), 'list')} of gold "
            "ranks; give one list for each candidate.",
            code="bad-label",
        )
    checked = [whole_ranks(of_candidate) for of_candidate in ranks]
    for number, (candidate, known) in enumerate(zip(candidates, checked, strict=True), 1):
        check_candidate(candidate, number)
        if len(known) != len(candidate.responses) or min(known) < 1:
            raise DataError(
                f"gold ranks {known} do not fit the {len(candidate.responses)} responses of "
                f"candidate {number}; give one rank, 1 or more, per response.",
                code="bad-label",
            )
    return checked


def check_candidate(candidate: Candidate, number: int) -> None:
    """Raise DataError, with the candidate's number in its import, if it cannot be ranked."""
    count = len(candidate.responses)
    if count < 2:
        raise DataError(
            f"candidate {number} has {counted(count, 'response')}; a ranking needs two or more.",
            code="bad-row",
        )
    if candidate.models and len(candidate.models) != count:
        raise DataError(
            f"candidate {number} has {counted(count, 'response')} and "
            f"{counted(len(candidate.models), 'model')}; "
            "name one model per response, or none.",
            code="bad-row",
        )


def check_marked(candidate: Candidate) -> None:
    """Raise DataError for a single response without text, or several that cannot be ranked."""
    if len(candidate.responses) > 1:
        check_candidate(candidate, 1)
    elif not candidate.responses or not candidate.responses[0].strip():
        raise DataError("a thumb needs a response with text.", code="bad-label")


def check_label(label: Label, sizes: Mapping[int, int]) -> None:
    """Raise DataError if a label does not fit its item.

    sizes: number of responses of each item in the store.
    """
    if label.item_id not in sizes:
        raise DataError(
            f"item {label.item_id} is not in the store; import its candidates first.",
            code="unknown-name",
        )
    if not label.annotator:
        raise DataError(
            f"a label of item {label.item_id} has no annotator; name one.", code="bad-label"
        )
    count = sizes[label.item_id]
    if len(label.ranks) != count or min(label.ranks) < 1:
        raise DataError(
            f"ranks {list(label.ranks)} of {label.annotator} do not fit the {count} responses of "
            f"item {label.item_id}; give one rank, 1 or more, per response.",
            code="bad-label",
        )
    # Rankings from elsewhere do not record the order in which their responses were shown.
    if label.order_shown and sorted(label.order_shown) != list(range(count)):
        raise DataError(
            f"order_shown {list(label.order_shown)} of item {label.item_id} is not an order of "
            f"its {count} responses; give each index from 0 to {count - 1} once.",
            code="bad-label",
        )
