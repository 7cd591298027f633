"""Tables and pictures of the research pages, from docs/research/figures/*.jsonl.

python docs/generate.py            # writes them; tests/test_docs.py checks that they are up to date
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from recipes.seed_results import Numbers, read_numbers
from recipes.toy_tasks import compare_points, draw_compare

DOCS = Path(__file__).parent
FIGURES = DOCS / "research" / "figures"
MARKED = re.compile(r"(<!-- results: (.+?) -->\n).*?(<!-- end of results -->\n)", re.DOTALL)


def page_with(name: str, parts: Mapping[str, str]) -> str:
    """The page as it is, with these parts between its marks."""
    page = (DOCS / name).read_text(encoding="utf-8")
    found = [match[2] for match in MARKED.finditer(page)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"{name} has marks of {found} for the results {[*parts]}")
    return MARKED.sub(lambda marks: f"{marks[1]}\n{parts[marks[2]]}\n\n{marks[3]}", page)


def numbers_of(name: str) -> dict[int, Numbers]:
    """The metrics of an experiment by seed."""
    return read_numbers(FIGURES / f"{name}.jsonl")


def count_of(seeds: Collection[int]) -> str:
    """How many seeds there are, and which."""
    if len(seeds) == 1:
        return f"**One world** so far (seed {min(seeds)}), so there are no intervals."
    return f"**{len(seeds)} worlds** so far (seeds {', '.join(map(str, seeds))})."


def compare_page() -> str:
    """research/compare.md."""
    found = numbers_of("compare")
    worlds = list(found.values())
    return page_with(
        "research/compare.md",
        {
            "count": count_of(found),
            "methods": compare_points.table_of_methods(worlds),
            "points": compare_points.table_of_points(worlds),
        },
    )


def compare_picture() -> str:
    """images/compare-frontier.svg."""
    return str(draw_compare.picture(list(numbers_of("compare").values())))


PAGES: dict[str, Callable[[], str]] = {
    "research/compare.md": compare_page,
    "images/compare-frontier.svg": compare_picture,
}
