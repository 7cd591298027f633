"""Records of the label store, as its callers see them."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf.types import Prompt  # loads torch; the store and the web app work without it

# Purpose of a label: an ordinary label, a comparison with known ranks, or a comparison with the
# annotator's own earlier label. A thumb rates a single response and is compared with nothing.
LABEL, GOLD_CHECK, REPEAT, THUMB = "label", "gold", "repeat", "thumb"
# A gold item of the qualification round; an adjudicator's decision about an item.
QUALIFY, ADJUDICATION = "qualify", "adjudication"
MEASURING = (GOLD_CHECK, QUALIFY)  # purposes of the labels of a gold item that count
ARENA = "arena"  # in `extra` of a vote by a visitor of the public arena
DISCOUNTED = "discounted"  # a vote of the public arena that does not count; `extra` has the rules
UNNAMED = "unnamed"  # annotator of a ranking that names none


def normalized_name(name: str) -> str:
    """The name in Unicode's composed form (NFC), so that one person has one name.

    A name typed on a Mac and the same name read from a file may differ in form.
    """
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """K responses to one prompt that wait to be ranked."""

    prompt: "Prompt"
    responses: Sequence[str]  # K
    models: Sequence[str] = ()  # K names, or none if the authors are unknown
    columns: Mapping[str, object] = field(default_factory=dict)  # the row's other columns


@dataclass(frozen=True, kw_only=True)
class Item(Candidate):
    """A candidate in the store."""

    id: int


@dataclass(frozen=True, kw_only=True)
class Label:
    """One annotator's ranking of an item's responses."""

    item_id: int
    annotator: str
    ranks: Sequence[int]  # K, in the order of item.responses; 1 is best, equal ranks tie
    order_shown: Sequence[int] = ()  # K indices into item.responses, first shown first; () unknown
    seconds: float | None = None  # from seeing the item to submitting; None if not measured
    guideline_version: int = 0  # 0 without a guideline
    form_version: int = 0  # 0 for labels that were not given in a form of this store
    strength: float = 1.0  # how clear the preference was
    purpose: str = LABEL  # or GOLD_CHECK, REPEAT, which measure the annotator; THUMB
    probability: float | None = None  # of the item being drawn; None if the order decided
    extra: Mapping[str, object] = field(default_factory=dict)  # other fields of the form

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotator", normalized_name(self.annotator))


@dataclass(frozen=True, kw_only=True)
class StoredLabel(Label):
    """A label that was submitted and not undone."""

    event_id: int
    at: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An annotator's hold on an item, with everything that the page shows."""

    id: int  # fencing token: a later claim has a higher one
    annotator: str
    item: Item
    purpose: str
    order_shown: Sequence[int]  # K indices into item.responses, first shown first
    probability: float | None
    draft: Mapping[str, object] | None  # form that was saved and not submitted
    seconds: float | None = None  # of work on the item before, as far as they are known


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """An annotator's label of the item they hold."""

    ranks: list[int]  # K, in the order of item.responses
    seconds: float | None
    strength: float = 1.0
    guideline_version: int = 0
    form_version: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnnotatorProgress:
    """An annotator's finished and open items."""

    done: int
    left: int  # ordinary items that are open to them, including the one that they hold
    seconds: float | None  # median of their last labels
    guideline: int  # version that was published last; 0 without one


def is_of_visitor(label: Label) -> bool:
    """Whether the label is a vote of the arena, whose many visitors vote a few times each."""
    return ARENA in label.extra


def models_of(item: Item, label: Label) -> Sequence[str]:
    """The models that wrote the item's responses; () if they are unknown.

    Two pairs of models may write the same texts, which are one item: a vote names its own models.
    """
    own = label.extra.get("models")
    return own if isinstance(own, list) and len(own) == len(item.responses) else item.models


def competition_ranks(tiers: Sequence[int]) -> list[int]:
    """Ranks of tiers: a tier of n responses takes n ranks, so tiers 1, 3, 3, 5 give 1, 2, 2, 4."""
    return [1 + sum(other < tier for other in tiers) for tier in tiers]


def order_of(ranks: Sequence[int], i: int, j: int) -> int:
    """1 if response i is ranked better than j, -1 if worse, 0 on a tie."""
    return (ranks[i] < ranks[j]) - (ranks[i] > ranks[j])
