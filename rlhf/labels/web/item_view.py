"""The JSON that the page reads: an item in the order shown, without the names of models."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.labels.qualification import Feedback, score
from rlhf.labels.queue import Queue
from rlhf.labels.records import QUALIFY, Claim, Item
from rlhf.labels.web.pictures import Pictures
from rlhf.types import Message
from rlhf.web.markdown import render

# Heading and text for an annotator who gets no item, by the queue's obstacle.
NOTICES = {
    "": ("", ""),
    "paused": (
        "Labelling is paused",
        "The researcher has paused it. Your open item and its draft are kept.",
    ),
    "cap": ("All done. Thank you!", "You have given all the labels that were planned for you."),
    "failed": (
        "You did not qualify",
        "You did not reach the pass mark of the qualification round, so there are no items for "
        "you. If you think that this is a mistake, ask the researcher (Questions).",
    ),
    "role": ("No items for now", "Your role has changed; reload the page."),
}


def page_state(
    queue: Queue, annotator: str, claim: Claim | None, pictures: Pictures
) -> dict[str, object]:
    """The annotator's progress and, if they hold a claim, its item and draft.

    pictures: those that prompts may show.
    """
    progress = queue.progress(annotator)
    state: dict[str, object] = {
        "claim": None,
        "done": progress.done,
        "left": progress.left,
        "pace": progress.seconds,
        "guideline": progress.guideline,
    }
    if claim is None:
        heading, notice = NOTICES[queue.obstacle(annotator)]
        return state | {"heading": heading, "notice": notice}
    prompt = claim.item.prompt
    turns: list[Message]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    texts = [claim.item.responses[index] for index in claim.order_shown]
    return state | {
        "claim": claim.id,
        "is_qualification": claim.purpose == QUALIFY,
        "prompt": [_turn_view(turn["role"], turn["content"], pictures) for turn in turns],
        "answers": [_response_view(text) for text in texts],
        "same": same_texts(texts),
        "draft": claim.draft,
        "seconds": claim.seconds or 0.0,
    }


def turns_of(item: Item, pictures: Pictures) -> list[dict[str, str]]:
    """The conversation as roles and sanitized HTML."""
    turns = item.prompt if isinstance(item.prompt, list) else None
    if turns is None:
        return [{"role": "user", "html": pictures.render(str(item.prompt))}]
    return [{"role": turn["role"], "html": pictures.render(turn["content"])} for turn in turns]


def same_texts(texts: Sequence[str]) -> list[int]:
    """For each text the place of the first one that is equal up to the space around it."""
    stripped = [text.strip() for text in texts]
    return [stripped.index(text) for text in stripped]


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: spaces, control and zero-width characters."""
    return all(unicodedata.category(char)[0] in "ZC" for char in text)


def feedback_view(feedback: Feedback) -> dict[str, object]:
    """The feedback after a gold item, with ranks in the order in which it was shown."""
    standing = feedback.standing
    correct, pairs = score(feedback.known, feedback.ranks)
    return {
        "ranks": [feedback.ranks[index] for index in feedback.order_shown],
        "known": [feedback.known[index] for index in feedback.order_shown],
        "correct": correct,
        "pairs": pairs,
        "explanation": render(feedback.explanation),
        "done": standing.done,
        "items": standing.items,
        "share": standing.share,
        "passed": standing.passed,
        "failed": standing.failed,
        "complete": standing.done == standing.items,
    }


def _turn_view(role: str, text: str, pictures: Pictures) -> dict[str, str]:
    return {"role": role, "text": text, "html": pictures.render(text)}


def _response_view(response: str) -> dict[str, object]:
    """Text and HTML of a response; its thought is separate, since the page folds it."""
    thought, text = split_thought(response)
    view: dict[str, object] = {"text": text, "html": _html(text)}
    if is_blank(text):
        view["blank"] = True
    if thought:
        view["thought"] = {"text": thought, "html": _html(thought)}
    return view


@lru_cache(maxsize=2000)  # the annotators of an item see it soon after one another
def _html(text: str) -> str:
    return render(text)
