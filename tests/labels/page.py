"""The label page in a browser: a phone, pairs to label, and what has the focus."""

from rlhf.labels.records import Candidate

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
PAIRS = [Candidate(prompt=f"p{i}", responses=("It rains in May.", "No.")) for i in range(3)]


def focused(page) -> str:
    """What has the keyboard's focus: question, index of the response, statement or option."""
    return page.evaluate(
        """() => {
            const node = document.activeElement, question = node.closest(".question");
            if (!question) return node.closest(".card") ? "card" : node.tagName;
            const { name, index } = question.dataset;
            return [name, index, node.closest(".line").dataset.statement ?? ""].join("|");
        }"""
    )
