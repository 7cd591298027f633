"""A form with a criterion of each kind, and answers to it."""

from rlhf.labels.criteria import parse_criteria
from rlhf.labels.form_config import FormConfig

CRITERIA = [
    {"name": "helpful", "kind": "rating", "low": 0, "high": 4, "required": True},
    {"name": "tone", "kind": "choice", "options": ["kind", "rude"]},
    {"name": "rubric", "kind": "checklist", "statements": ["It names a date.", "It is short."]},
    {"name": "wrong", "kind": "spans", "options": ["untrue", "unclear"]},
    {
        "name": "topics",
        "kind": "choice",
        "several": True,
        "about": "item",
        "options": ["maths", "food", "law"],
    },
    {"name": "why", "kind": "text", "about": "best", "required": True},
]
FORM = FormConfig(criteria=parse_criteria(CRITERIA))


def span(text: str, quote: str, option: str = "untrue") -> dict[str, object]:
    """The first passage of the text that reads so."""
    start = text.index(quote)
    return {"start": start, "end": start + len(quote), "text": quote, "option": option}
