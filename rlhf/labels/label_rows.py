"""Labels as rows of rankings, pairs, demonstrations, ratings and thumbs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.answers import answer_columns, ratings_of
from rlhf.labels.equal_texts import one_rank_per_text
from rlhf.labels.records import (
    ADJUDICATION,
    DISCOUNTED,
    GOLD_CHECK,
    LABEL,
    QUALIFY,
    REPEAT,
    THUMB,
    Item,
    StoredLabel,
    models_of,
)
from rlhf.labels.review.history import is_decision

RANKINGS, PAIRS, GOLD_ITEMS = "rankings", "pairs", "gold"
GOLD_RANKS = "gold_ranks"  # column of the known ranks
DISCOUNTED_VOTES = "votes that the arena discounts"


@dataclass(frozen=True)
class ExportedRows:
    """Rows of one kind, and how many labels or pairs they leave out."""

    rows: Sequence[dict[str, object]]
    left_out: dict[str, int]  # reason -> count


def _rankings(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    repeats: dict[tuple[int, str], list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == REPEAT:
            repeats.setdefault((label.item_id, label.annotator), []).append(label)
    rows = [
        ranking_row(items[label.item_id], label)
        | _repeats_column(repeats.get((label.item_id, label.annotator), []))
        for label in labels
        if label.purpose not in (REPEAT, THUMB, GOLD_CHECK, QUALIFY, DISCOUNTED)
        and not _is_blind(label)
    ]
    left_out = {
        "thumbs on single responses": sum(label.purpose == THUMB for label in labels),
        "labels of gold items": sum(label.purpose == GOLD_CHECK for label in labels),
        "labels of qualification rounds": sum(label.purpose == QUALIFY for label in labels),
        "blind rankings that wait for an adjudicator": sum(map(_is_blind, labels)),
        DISCOUNTED_VOTES: _num_discounted(labels),
    }
    return ExportedRows(rows, {reason: count for reason, count in left_out.items() if count})


def _is_blind(label: StoredLabel) -> bool:
    """Whether an adjudicator gave the label before they saw those of the annotators."""
    return label.purpose == ADJUDICATION and not is_decision(label)


def _num_discounted(labels: Sequence[StoredLabel]) -> int:
    return sum(label.purpose == DISCOUNTED for label in labels)


def _pairs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    rows, ties, checks = [], 0, 0
    for label in labels:
        item = items[label.item_id]
        if label.purpose != LABEL:
            checks += label.purpose not in (THUMB, ADJUDICATION, DISCOUNTED)
            continue
        ranks = one_rank_per_text(item.responses, label.ranks)
        for i, j in itertools.combinations(range(len(ranks)), 2):
            better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
            if ranks[i] == ranks[j]:
                ties += 1
            else:
                pair = _pair(item, label, item.responses[better], item.responses[worse])
                authors = models_of(item, label)
                models = [authors[better], authors[worse]] if authors else []
                ended = origins(item, label.extra, [better, worse])
                rows.append({**pair, "models": models, **ended})
        if rewrite := _rewrite(label):
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if rewrite.strip() != item.responses[best].strip():
                rows.append(_pair(item, label, rewrite, item.responses[best]))
    left_out = {"tied pairs": ties, "gold and repeated items": checks}
    if discounted := _num_discounted(labels):
        left_out[DISCOUNTED_VOTES] = discounted
    return ExportedRows(rows, left_out)


def _rewrite(label: StoredLabel) -> str:
    """The response that the annotator wrote; "" without one."""
    text = label.extra.get("rewrite")
    return text if isinstance(text, str) else ""


def _demonstrations(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    rows: list[dict[str, object]] = [
        {
            "prompt": items[label.item_id].prompt,
            "completion": _rewrite(label),
            "annotator": label.annotator,
            "item_id": label.item_id,
            **_versions(label),
        }
        for label in labels
        if _rewrite(label) and label.purpose == LABEL
    ]
    return ExportedRows(rows, {"labels without a written response": len(labels) - len(rows)})


def _thumbs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    """KTO rows: a thumb of a chat; an overall rating above 4 is a thumb up, below 4 one down."""
    rows, unrated, neutral = [], 0, 0
    for label in labels:
        if label.purpose not in (LABEL, THUMB):
            continue
        item = items[label.item_id]
        overall = label.extra.get("overall")
        ratings = overall if isinstance(overall, list) and overall else [None] * len(item.responses)
        for index, (text, rating) in enumerate(zip(item.responses, ratings, strict=True)):
            if rating is None:
                unrated += 1
            elif rating == 4:
                neutral += 1
            else:
                row = {"prompt": item.prompt, "completion": text, "label": rating > 4}
                who = {"annotator": label.annotator, "item_id": item.id}
                ended = origins(item, label.extra, [index])
                rows.append({**row, **who, **_versions(label), **ended})
    left_out = {"responses without an overall rating": unrated, "overall ratings of 4": neutral}
    return ExportedRows(rows, left_out)


def _ratings(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    """Rows of a reward model of axes: one per annotator and response with a rating."""
    rows: list[dict[str, object]] = []
    unrated = 0
    for label in labels:
        if label.purpose != LABEL:
            continue
        item = items[label.item_id]
        by_response = ratings_of(label.extra, len(item.responses))
        for index, (text, ratings) in enumerate(zip(item.responses, by_response, strict=True)):
            if not ratings:
                unrated += 1
                continue
            row = {"prompt": item.prompt, "response": text, "ratings": ratings}
            who = {"annotator": label.annotator, "item_id": item.id}
            rows.append({**item.columns, **row, **who, **_versions(label)})
            if item.models:
                rows[-1]["model"] = item.models[index]
    return ExportedRows(rows, {"responses without a rating": unrated})


def gold_rows(
    items: Mapping[int, Item], labels: Sequence[StoredLabel], known: Mapping[int, Sequence[int]]
) -> ExportedRows:
    """Labels of gold items as rankings, with the known ranks of the item; no training reads them.

    known: item id -> ranks.
    """
    measuring = [label for label in labels if label.purpose == GOLD_CHECK]
    rows = [
        {**ranking_row(items[label.item_id], label), GOLD_RANKS: list(known[label.item_id])}
        for label in measuring
        if label.item_id in known
    ]
    unknown = len(measuring) - len(rows)
    return ExportedRows(rows, {"labels of items without known ranks": unknown} if unknown else {})


BY_LABEL: dict[str, Callable[[dict[int, Item], Sequence[StoredLabel]], ExportedRows]] = {
    RANKINGS: _rankings,
    PAIRS: _pairs,
    "demonstrations": _demonstrations,
    "ratings": _ratings,
    "thumbs": _thumbs,
}


def ranking_row(item: Item, label: StoredLabel) -> dict[str, object]:
    """One label as a row of a rankings file; an answer to a criterion is a column of its own."""
    ranks = one_rank_per_text(item.responses, label.ranks)
    return {
        **item.columns,
        **answer_columns(label.extra),
        "prompt": item.prompt,
        "responses": list(item.responses),
        "ranks": ranks,
        "annotator": label.annotator,
        "strength": label.strength if _decides(ranks) else 1.0,
        "models": list(models_of(item, label)),
        "order_shown": list(label.order_shown),
        "seconds": label.seconds,
        **_versions(label),
        "purpose": label.purpose,
        "probability": label.probability,
        "extra": _exported_extra(item, label, ranks),
        "item_id": item.id,
        "labelled_at": label.at,
    }


def _decides(ranks: Sequence[int]) -> bool:
    """Whether any response is better than another."""
    return len(set(ranks)) > 1


def _exported_extra(item: Item, label: StoredLabel, ranks: Sequence[int]) -> dict[str, object]:
    """`extra` without the page's raw form, which repeats the other fields in the order shown, and
    without the answers, which are columns. Copies of one text that were compared are equal. The
    models remain if they are not the item's: an import finds the item, which has others."""
    left_out = ["form", "criteria"]
    if list(models_of(item, label)) == list(item.models):
        left_out.append("models")
    exported = {key: value for key, value in label.extra.items() if key not in left_out}
    if exported.get("scale") and not _decides(ranks):
        exported["scale"] = 0
    return exported


def _repeats_column(labels: Sequence[StoredLabel]) -> dict[str, object]:
    repeats: list[dict[str, object]] = [
        {
            "ranks": list(label.ranks),
            "strength": label.strength,
            "order_shown": list(label.order_shown),
            "seconds": label.seconds,
            **_versions(label),
            "extra": {key: value for key, value in label.extra.items() if key != "form"},
            "labelled_at": label.at,
        }
        for label in labels
    ]
    return {"repeats": repeats} if repeats else {}


def _versions(label: StoredLabel) -> dict[str, object]:
    """What the annotator followed; numbers of this store."""
    return {
        "guideline_version": label.guideline_version,
        "form_version": label.form_version,
    }


def origins(item: Item, extra: Mapping[str, object], indices: Sequence[int]) -> dict[str, object]:
    """How these responses of a chat ended and whether they were steered.

    A label says so in its `extra`, an imported pair in columns of its item; {} without both.
    """
    fields = {**item.columns, **extra}
    return {
        name: [values[index] for index in indices]
        for name in ("endings", "steered")
        if isinstance(values := fields.get(name), list) and len(values) == len(item.responses)
    }


def _pair(item: Item, label: StoredLabel, chosen: str, rejected: str) -> dict[str, object]:
    return {
        **item.columns,
        "prompt": item.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "annotator": label.annotator,
        "strength": label.strength,
        "item_id": item.id,
        **_versions(label),
    }
