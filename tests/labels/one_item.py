"""An item of three responses, and a label of it."""

from rlhf.labels.records import Candidate, Label

ITEM = Candidate(prompt="p", responses=("a", "b", "c"))


def label(ranks=(1, 2, 2), purpose="label", **extra) -> Label:
    """Of the first item of a store."""
    return Label(
        item_id=1,
        annotator="ann",
        ranks=ranks,
        order_shown=(2, 0, 1),
        strength=2.0,
        purpose=purpose,
        extra=extra,
    )
