"""labels/stats.json as tables: who ranked, how well they agree, which biases show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.report.read import Row

COLUMNS = {
    "agreement": "agrees with others",
    "gold_items": "gold items right",
    "self_agreement": "repeats alike",
    "first_shown": "first shown wins",
    "longer": "longer wins",
    "ties": "ties",
}


@dataclass(frozen=True, kw_only=True)
class LabelView:
    """What the page shows."""

    summary: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # a row an annotator
    concerns: Sequence[str]


def label_view(stats: Row) -> LabelView | None:
    """The view; None where nobody counted the labels."""
    annotators = stats.get("annotators")
    if not isinstance(annotators, list) or not annotators:
        return None
    shown = [key for key in COLUMNS if any(_n(one.get(key)) for one in annotators)]
    alpha = stats.get("alpha") or {}
    summary = [f"{stats.get('labels', 0)} labels of {stats.get('labelled_items', 0)} prompts"]
    if _n(stats.get("agreement")):
        summary.append(f"annotators agree on {_share(stats['agreement'])} of decided pairs")
    if _n(alpha):
        summary.append(f"Krippendorff's alpha {_share(alpha)}")
    return LabelView(
        summary=summary,
        header=["", "labels", *(COLUMNS[key] for key in shown)],
        rows=[
            [str(one.get("name", "")), str(one.get("labels", 0)), *(_share(one[k]) for k in shown)]
            for one in annotators
        ],
        concerns=[f"{c['annotator']}: {c['reason']}" for c in stats.get("concerns", [])],
    )


def _n(share: Any) -> int:
    return int(share.get("n", 0)) if isinstance(share, Mapping) else 0


def _share(share: Any) -> str:
    return f"{float(share['value']):.2f}" if _n(share) else "–"
