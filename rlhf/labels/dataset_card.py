"""Dataset cards of exported labels: fields, guideline, agreement, dates."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf.labels.stats import label_stats
from rlhf.runtime.printing import counted

if TYPE_CHECKING:
    from rlhf.labels.store import LabelStore

FIELDS = {
    "prompt": "a text, or a list of messages with `role` and `content`",
    "responses": "the texts that were compared, in the order of the file that brought them",
    "ranks": "one rank for each response: 1 is best, equal ranks tie",
    "chosen": "the better response",
    "rejected": "the worse response",
    "completion": "a response",
    "label": "true for a thumb up, false for a thumb down",
    "annotator": "who gave the label",
    "strength": "how clear the preference was: 1 is ordinary, 4 is the end of the scale",
    "models": "the models that wrote the responses; hidden from annotators",
    "order_shown": "indices into `responses`, first shown first",
    "seconds": "time in which the annotator was active on the item",
    "guideline_version": "version of the guideline that was shown; 0 without one",
    "purpose": "label; gold and qualify (known ranks), repeat (of an own label), or adjudication",
    "probability": "of the item being drawn; empty if the order of the queue decided",
    "extra": "other fields of the form: flags, overall, comment, rewrite, corrections",
    "repeats": "later labels of the same item by the same annotator",
    "item_id": "number of the item in its store",
    "labelled_at": "seconds since 1970",
    "consensus": "the method that made one ranking of several; adjudicated: a person decided",
    "annotators": "number of annotators in the consensus",
    "pair_probabilities": "[first, second, probability that the first is better, low, high]; "
    "responses count from 0, the interval has 95%",
    "low": "end of the 95% interval of `probability`",
    "high": "end of the 95% interval of `probability`",
    "event_id": "number of the event in its store; events are in their order",
    "kind": "submit, skip, undo, late, or a decision: exclude, reopen, contest",
    "at": "seconds since 1970",
    "reason": "why the item was skipped, or why the administrator acted",
    "comment": "what the annotator wrote about the item",
    "by": "who acted, if not the annotator",
    "undoes": "the event that this one takes back",
    "undone_by": "the event that takes this one back",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card states about the store."""

    agreement: str
    dates: str
    guideline: str  # the current one
    guideline_version: int


def card_facts(store: "LabelStore") -> CardFacts:
    """The facts about the labels that count."""
    times = [label.at for label in store.labels()]
    version, text = store.newest_guideline()
    stats = label_stats(store)
    return CardFacts(
        agreement=f"Krippendorff's alpha of the ranks: {stats.alpha}. Same decision on "
        f"{stats.agreement} of the pairs that two annotators ordered.",
        dates=f"{_day(min(times))} to {_day(max(times))}" if times else "no labels",
        guideline=text,
        guideline_version=version,
    )


def dataset_card(
    kind: str,
    rows: Sequence[dict[str, object]],
    left_out: Mapping[str, int],
    facts: CardFacts,
) -> str:
    """A dataset card in Markdown."""
    names = sorted({str(row.get("annotator", "")) for row in rows})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    omitted = [f"- left out: {count} {reason}" for reason, count in left_out.items()]
    fields = [f"| `{name}` | {FIELDS.get(name, 'from the imported file')} |" for name in columns]
    guideline = [
        f"## Guideline, version {facts.guideline_version}",
        "",
        *(f"> {line}".rstrip() for line in facts.guideline.splitlines()),
        "",
    ]
    return "\n".join(
        [
            "---",
            "tags: [preferences, rlhf]",
            "---",
            f"# {kind}",
            "",
            f"{counted(len(rows), 'row')} of {counted(len(names), 'annotator')}, "
            "written by `rlhf label export`.",
            "",
            *omitted,
            *([""] if omitted else []),
            "## Fields",
            "",
            "| field | meaning |",
            "|---|---|",
            *fields,
            "",
            "## Labels",
            "",
            f"- dates: {facts.dates}",
            f"- agreement: {facts.agreement}",
            "",
            *(guideline if facts.guideline_version else []),
        ]
    )


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
