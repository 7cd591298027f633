"""Checks of candidates and labels before they enter the store."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from rlhf.errors import DataError
from rlhf.labels.records import Candidate, Label
from rlhf.runtime.printing import counted


def content_sha256(candidate: Candidate) -> str:
    """Hash of the prompt and its responses; the models that wrote them are not part of it."""
    content = [candidate.prompt, list(candidate.responses)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_arguments(candidate: Candidate, ranks: Sequence[int] | None) -> None:
    """Raise DataError for arguments of `LabelStore.add` of the wrong type, or an empty prompt."""
    for name, texts in (("responses", candidate.responses), ("models", candidate.models)):
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            raise DataError(
                f"{name}={texts!r} is not a list of texts; give one text for each response.",
                code="bad-value",
            )
    are_whole = isinstance(ranks, list | tuple) and all(type(rank) is int for rank in ranks)
    if ranks is not None and not are_whole:
        raise DataError(
            f"ranks={ranks!r} is not a list of whole numbers; give one rank for each response.",
            code="bad-value",
        )
    prompt = candidate.prompt
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    is_result = not isinstance(prompt, str) and prompt[-1]["role"] == "tool"
    if not text.strip() and not is_result:  # a tool may have returned nothing
        raise DataError("the prompt is empty; give a text or messages.", code="bad-value")
    check_candidate(candidate, 1)


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
    """Raise DataError unless the candidate is one response with text, as training needs it."""
    if len(candidate.responses) != 1 or not candidate.responses[0].strip():
        raise DataError("a thumbs label needs exactly one non-empty response.", code="bad-label")


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
