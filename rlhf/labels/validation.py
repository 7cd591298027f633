"""What may enter the label store, said in words where it may not."""

import hashlib
import json
from collections.abc import Mapping

from rlhf.errors import DataError
from rlhf.labels.records import Candidate, Label


def content_sha256(candidate: Candidate) -> str:
    """Hash of what is judged, the prompt and its answers; who wrote them is no part of it."""
    content = [candidate.prompt, list(candidate.responses)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_candidate(candidate: Candidate, number: int) -> None:
    """Refuse a candidate that nobody can rank.

    Raises:
        DataError: with the candidate's number in its import.
    """
    count = len(candidate.responses)
    if count < 2:
        raise DataError(f"candidate {number} has {count} answers; ranking takes two or more.")
    if candidate.models and len(candidate.models) != count:
        raise DataError(
            f"candidate {number} has {count} answers and {len(candidate.models)} models; "
            "name one model an answer, or none."
        )


def check_marked(candidate: Candidate) -> None:
    """Refuse what is not one answer with a text in it.

    Raises:
        DataError: a thumb on it could not be trained on.
    """
    if len(candidate.responses) != 1 or not candidate.responses[0].strip():
        raise DataError("a thumb is about one answer that is not empty.")


def check_label(label: Label, sizes: Mapping[int, int]) -> None:
    """Refuse a label that does not fit its item.

    sizes: number of answers of each item in the store.

    Raises:
        DataError: which part of it does not fit.
    """
    if label.item_id not in sizes:
        raise DataError(f"item {label.item_id} is not in the store; import its candidates first.")
    if not label.annotator:
        raise DataError(f"a label of item {label.item_id} names no annotator; name one.")
    count = sizes[label.item_id]
    if len(label.ranks) != count or min(label.ranks) < 1:
        raise DataError(
            f"ranks {list(label.ranks)} of {label.annotator} do not fit the {count} answers of "
            f"item {label.item_id}; give one rank, 1 or more, for each answer."
        )
    # Rankings that were made elsewhere do not say in which order their answers were shown.
    if label.order_shown and sorted(label.order_shown) != list(range(count)):
        raise DataError(
            f"order_shown {list(label.order_shown)} of item {label.item_id} is no order of its "
            f"{count} answers; give each index from 0 to {count - 1} once."
        )
