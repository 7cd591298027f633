"""Local rows with the columns of the hub sets that recipes name, and keys with these files."""

import re
from pathlib import Path
from typing import Any

from tests.recipes.two_steps import OBJECTS, write_rows

HUB_SET = re.compile(r"trl-lib/([\w-]+)(?::\w+)?")


def conversation(question: str, response: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": response}]


def hub_rows(folder: Path) -> dict[str, str]:
    """Files of eight rows with the columns of trl-lib's sets, by the names of the sets.

    Capybara has messages; ultrafeedback_binarized conversations with scores and no prompt column;
    ultrafeedback-prompt conversational prompts; tldr and tldr-preference texts.
    """
    questions = [f"Where is the {thing}?" for thing in OBJECTS]
    pairs = [(conversation(q, "In the box."), conversation(q, "I am a cat.")) for q in questions]
    posts = [f"TITLE: The {thing}\n\nPOST: It is in the box.\n\nTL;DR:" for thing in OBJECTS]
    rows: dict[str, list[dict[str, Any]]] = {
        "Capybara": [{"messages": good} for good, _ in pairs],
        "ultrafeedback_binarized": [
            {"chosen": good, "rejected": bad, "score_chosen": 7.5, "score_rejected": 5.0}
            for good, bad in pairs
        ],
        "ultrafeedback-prompt": [{"prompt": good[:1]} for good, _ in pairs],
        "tldr": [{"prompt": post, "completion": " In the box."} for post in posts],
        "tldr-preference": [
            {"prompt": post, "chosen": " In the box.", "rejected": " A cat."} for post in posts
        ],
    }
    return {name: write_rows(folder / f"{name}.jsonl", each) for name, each in rows.items()}


def with_local_data(value: Any, files: dict[str, str]) -> Any:
    """The keys with each hub set replaced by its file; a weight before it stays."""
    if isinstance(value, dict):
        return {key: with_local_data(item, files) for key, item in value.items()}
    if isinstance(value, list):
        return [with_local_data(item, files) for item in value]
    if isinstance(value, str):
        return HUB_SET.sub(lambda match: files[match[1]], value)
    return value
