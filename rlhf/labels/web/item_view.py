"""The JSON that the page reads: an item in the order shown, without the names of models."""

from typing import TYPE_CHECKING

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.labels.queue import Queue
from rlhf.labels.records import Claim
from rlhf.web.markdown import render

if TYPE_CHECKING:
    from rlhf.types import Message  # loads torch; the web app works without it


def page_state(queue: Queue, annotator: str, claim: Claim | None) -> dict[str, object]:
    """The annotator's progress and, if they hold a claim, its item and draft."""
    progress = queue.progress(annotator)
    state: dict[str, object] = {
        "claim": None,
        "done": progress.done,
        "left": progress.left,
        "pace": progress.seconds,
        "guideline": queue.store.newest_guideline()[0],
    }
    if claim is None:
        return state
    prompt = claim.item.prompt
    turns: list[Message]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    texts = [claim.item.responses[index] for index in claim.order_shown]
    return state | {
        "claim": claim.id,
        "prompt": [
            {"role": turn["role"], "text": turn["content"], "html": render(turn["content"])}
            for turn in turns
        ],
        "answers": [_response_view(text) for text in texts],
        "draft": claim.draft,
    }


def _response_view(response: str) -> dict[str, object]:
    """Text and HTML of a response; its thought is separate, since the page folds it."""
    thought, text = split_thought(response)
    view: dict[str, object] = {"text": text, "html": render(text)}
    if thought:
        view["thought"] = {"text": thought, "html": render(thought)}
    return view
