"""Places of labels in a chart, so that they cover neither points nor each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.svg_parts import words

WIDE = 0.58  # mean width of a letter, in font sizes


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Area of what both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text at a place."""

    x: float  # of its left edge, or of its right one
    y: float  # of its base line
    text: str
    size: float  # of the font
    at_end: bool = False  # whether x is the right edge

    @property
    def box(self) -> Box:
        """What it covers, about."""
        width = WIDE * self.size * len(self.text)
        left = self.x - width if self.at_end else self.x
        return Box(left=left, top=self.y - 0.8 * self.size, right=left + width, bottom=self.y + 2)

    def draw(self, tone: str) -> Markup:
        """The text, of the CSS class `tone`."""
        return words(self.x, self.y, self.text, f"{tone} end" if self.at_end else tone)


def disk_box(x: float, y: float, radius: float = 5.0) -> Box:
    """What a disk covers."""
    return Box(left=x - radius, top=y - radius, right=x + radius, bottom=y + radius)


def name_places(x: float, y: float, text: str, size: float) -> list[Label]:
    """Places for the name of a line that ends at (x, y), the best first."""
    right = [
        Label(x=x + 10, y=y + 4 + shift, text=text, size=size) for shift in (0, -9, 9, -18, 18)
    ]
    left = [Label(x=x - 8, y=y + shift, text=text, size=size, at_end=True) for shift in (-10, 18)]
    return [*right, *left]


def value_places(x: float, y: float, text: str, size: float) -> list[Label]:
    """Places for a small number at the point (x, y), the best first."""
    return [
        Label(x=x - 6, y=y - 7, text=text, size=size, at_end=True),
        Label(x=x + 6, y=y + 14, text=text, size=size),
        Label(x=x + 6, y=y - 7, text=text, size=size),
        Label(x=x - 6, y=y + 14, text=text, size=size, at_end=True),
    ]


def least_overlap(
    choices: Sequence[Sequence[Label]], taken: Sequence[Box], *, top: float, right: float
) -> list[Label]:
    """One of the places for each label; labels take their places in their order.

    Args:
        choices: the places of each label, the best first; of equal ones the first is taken.
        taken: what labels should not cover.
        top: y above which no label should be, if it can be helped.
        right: x that no label should pass.
    """
    boxes, labels = list(taken), []
    for places in choices:

        def cost(label: Label) -> float:
            beyond = max(0.0, label.box.right - right) + max(0.0, top - label.box.top)
            return beyond * label.size + sum(label.box.overlap(box) for box in boxes)

        best = min(places, key=cost)
        labels.append(best)
        boxes.append(best.box)
    return labels
