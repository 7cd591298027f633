"""labels/stats.json as tables: the annotators, their agreement and their biases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.report.read import Row

COLUMNS = {
    "agreement": "agreement with others",
    "gold_items": "gold items correct",
    "self_agreement": "self-agreement",
    "first_shown": "first shown wins",
    "longer": "longer wins",
    "ties": "ties",
}


@dataclass(frozen=True, kw_only=True)
class LabelView:
    """The labels' section of the page."""

    summary: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # one row per annotator
    concerns: Sequence[str]


def label_view(stats: Row) -> LabelView | None:
    """The section; None if there are no label statistics."""
    annotators = stats.get("annotators")
    if not isinstance(annotators, list) or not annotators:
        return None
    measured = [key for key in COLUMNS if any(_n(one.get(key)) for one in annotators)]
    alpha = stats.get("alpha") or {}
    summary = [f"{stats.get('labels', 0)} labels for {stats.get('labelled_items', 0)} prompts"]
    if _n(stats.get("agreement")):
        summary.append(
            f"annotators agree on {_share(stats['agreement'])} of pairs that neither tied"
        )
    if _n(alpha):
        summary.append(f"Krippendorff's alpha {_share(alpha)}")
    return LabelView(
        summary=summary,
        header=["", "labels", *(COLUMNS[key] for key in measured)],
        rows=[
            [
                str(one.get("name", "")),
                str(one.get("labels", 0)),
                *(_share(one[k]) for k in measured),
            ]
            for one in annotators
        ],
        concerns=[f"{c['annotator']}: {c['reason']}" for c in stats.get("concerns", [])],
    )


def _n(share: object) -> int:
    return int(share.get("n", 0)) if isinstance(share, Mapping) else 0


def _share(share: object) -> str:
    return f"{float(share['value']):.2f}" if isinstance(share, Mapping) and _n(share) else "–"
