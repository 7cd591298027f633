"""Labels for annotation tools: Argilla's records, Label Studio's tasks and annotations.

Neither format has ties: responses of one rank are listed in the item's order, and counted.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence

from rlhf.labels.records import LABEL, Item, StoredLabel
from rlhf.types import Prompt

RANKING, TIES, CHECKS = (
    "ranking",
    "ties that this format cannot express",
    "labels of other purposes",
)


def argilla_records(
    items: Mapping[int, Item], labels: Sequence[StoredLabel]
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Records for `dataset.records.from_json` of Argilla, and what they leave out.

    The fields are prompt, response-1, response-2, …; the question is `ranking`. Argilla knows its
    users by UUID: an annotator whose name is none gets one that is made from it (UUID 5).
    """

    def record(item: Item, its_labels: Sequence[StoredLabel]) -> dict[str, object]:
        names = [f"response-{n + 1}" for n in range(len(item.responses))]
        metadata = {k: v for k, v in item.columns.items() if isinstance(v, str | int | float)}
        metadata |= {f"model-{n + 1}": model for n, model in enumerate(item.models)}
        return {
            "id": str(item.id),
            "fields": {"prompt": item.prompt, **dict(zip(names, item.responses, strict=True))},
            "metadata": metadata,
            "suggestions": {},
            "responses": {
                RANKING: [
                    {
                        "value": [names[index] for index in best_first(label.ranks)],
                        "user_id": user_id(label.annotator),
                    }
                    for label in its_labels
                ]
            },
            "vectors": {},
        }

    return _exported(items, labels, record)


def label_studio_tasks(
    items: Mapping[int, Item], labels: Sequence[StoredLabel]
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Tasks with annotations for Label Studio, and what they leave out.

    They fit a configuration with `<Text name="prompt" value="$prompt"/>`,
    `<List name="results" value="$items"/>` and `<Ranker name="rank" toName="results"/>`.
    """

    def task(item: Item, its_labels: Sequence[StoredLabel]) -> dict[str, object]:
        listed = [
            {"id": str(n + 1), "title": f"Response {n + 1}", "body": text}
            for n, text in enumerate(item.responses)
        ]
        data = {"prompt": prompt_text(item.prompt), "items": listed}
        return {
            "id": item.id,
            "data": {**{k: v for k, v in item.columns.items() if k not in data}, **data},
            "annotations": [_annotation(label) for label in its_labels],
        }

    return _exported(items, labels, task)


def _annotation(label: StoredLabel) -> dict[str, object]:
    order = [str(index + 1) for index in best_first(label.ranks)]
    result = {
        "id": f"rank-{label.event_id}",
        "from_name": "rank",
        "to_name": "results",
        "type": "ranker",
        "value": {"ranker": {"rank": order}},
    }
    seconds = {} if label.seconds is None else {"lead_time": label.seconds}
    return {"completed_by": {"email": label.annotator}, "result": [result], **seconds}


def best_first(ranks: Sequence[int]) -> list[int]:
    """Indices of the responses from the best to the worst; equal ones in their order."""
    return sorted(range(len(ranks)), key=ranks.__getitem__)


def user_id(annotator: str) -> str:
    """The annotator's name if it is a UUID, else a UUID made from it."""
    try:
        return str(uuid.UUID(annotator))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rlhf:annotator:{annotator}"))


def prompt_text(prompt: Prompt) -> str:
    """The prompt as one text: the contents of its messages below their roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _exported(
    items: Mapping[int, Item],
    labels: Sequence[StoredLabel],
    make: Callable[[Item, Sequence[StoredLabel]], dict[str, object]],
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """A record for each item with several responses, with its ordinary labels."""
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == LABEL:
            by_item.setdefault(label.item_id, []).append(label)
    ordinary = [label for its_labels in by_item.values() for label in its_labels]
    ties = sum(len(label.ranks) - len(set(label.ranks)) for label in ordinary)
    records = [make(i, by_item.get(i.id, [])) for i in items.values() if len(i.responses) > 1]
    left_out = {TIES: ties, CHECKS: len(labels) - len(ordinary)}
    return records, {reason: count for reason, count in left_out.items() if count}
