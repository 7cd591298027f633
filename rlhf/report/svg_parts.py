"""Lines and texts of an SVG, styled by CSS classes."""

from collections.abc import Sequence

from markupsafe import Markup


def line(x1: float, y1: float, x2: float, y2: float, tone: str) -> Markup:
    """A line of the CSS class `tone`."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        tone, x1, y1, x2, y2
    )


def path(places: Sequence[tuple[float, float]], tone: str) -> Markup:
    """A polyline through these places."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="{}" points="{}"/>').format(tone, points)


def words(x: float, y: float, text: str, tone: str) -> Markup:
    """A text, escaped."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(tone, x, y, text)
