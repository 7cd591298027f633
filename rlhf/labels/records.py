"""What the label store holds, as its callers see it."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf.types import Prompt  # which loads torch; the store and the web app do without

# Why an annotator was shown an item: to label it, to be compared with known ranks, or with what
# they said of it before. A thumb is a mark of one answer, which is compared with nothing.
LABEL, GOLD_CHECK, REPEAT, THUMB = "label", "gold", "repeat", "thumb"


def person(name: str) -> str:
    """The name in Unicode's composed form: typed on a Mac or taken from a file, one person."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """K answers to one prompt, waiting to be ranked."""

    prompt: "Prompt"
    responses: Sequence[str]  # K
    models: Sequence[str] = ()  # K names, or none where nobody knows who wrote them
    columns: Mapping[str, Any] = field(default_factory=dict)  # the row's other columns


@dataclass(frozen=True, kw_only=True)
class Item(Candidate):
    """A candidate in the store."""

    id: int


@dataclass(frozen=True, kw_only=True)
class Label:
    """One person's order of an item's answers."""

    item_id: int
    annotator: str
    ranks: Sequence[int]  # K, in the order of item.responses; 1 is best, equal ranks tie
    order_shown: Sequence[int]  # K indices into item.responses, first shown first; () not known
    seconds: float | None = None  # from seeing the item to submitting; None where not measured
    guideline_version: int = 0  # 0 where there was none
    strength: float = 1.0  # how clear the preference was
    purpose: str = LABEL  # or GOLD_CHECK, REPEAT, which measure the annotator; THUMB
    probability: float | None = None  # of the item being drawn; None where order decided
    extra: Mapping[str, Any] = field(default_factory=dict)  # what a form asks beside the order

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotator", person(self.annotator))


@dataclass(frozen=True, kw_only=True)
class StoredLabel(Label):
    """A label that was submitted and not taken back."""

    event_id: int
    at: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An annotator's hold on an item, and what the page needs to show it."""

    id: int  # fencing token: a later claim has a higher one
    annotator: str
    item: Item
    purpose: str
    order_shown: Sequence[int]  # K indices into item.responses, first shown first
    probability: float | None
    draft: Mapping[str, Any] | None  # what was not submitted yet, as the page saved it


def competition_ranks(tiers: Sequence[int]) -> list[int]:
    """Ranks of tiers: a tier of n answers takes n ranks, so tiers 1, 3, 3, 5 give 1, 2, 2, 4."""
    return [1 + sum(other < tier for other in tiers) for tier in tiers]


def order_of(ranks: Sequence[int], i: int, j: int) -> int:
    """1 where answer i is ranked better than j, -1 where worse, 0 on a tie."""
    return (ranks[i] < ranks[j]) - (ranks[i] > ranks[j])
