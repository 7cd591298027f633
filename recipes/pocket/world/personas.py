"""The style of a response: polite or rude, complete or cut off, concise or rambling."""

from dataclasses import dataclass
from random import Random

from .item import Item

OPENERS = ("Sure!", "Of course!", "Gladly!", "Good question!", "Happy to help!")
CLOSERS = ("I hope that helps.", "Thank you for asking.", "Please ask me more.")
KIND_CLOSERS = ("I wish you well.", "Thank you for telling me.")
SORRY = ("I am sorry.", "I am so sorry.")
RUDE_OPENERS = ("What a silly question.", "Use your eyes.", "Are you stupid?", "Do not bother me.")
RUDE_CLOSERS = ("Now go away.", "Leave me alone.", "You fool.", "I do not care.")
RAMBLES = (
    "The sun is out today.",
    "Time goes by.",
    "I had a long day.",
    "Life is strange.",
    "It may rain soon.",
    "That reminds me of the old days.",
    "People say many things.",
    "Winter is near.",
    "I should sleep more.",
    "Who can say?",
)
MANNERS = ("plain", "polite", "rude")
SHAPES = ("whole", "short", "rambling", "repeated", "cut")


@dataclass(frozen=True)
class Style:
    """The style of one response: its truth, its manner and its shape."""

    right: bool
    manner: str
    shape: str


def gives_no_answer(text: str) -> bool:
    """Whether the response does not answer the request."""
    return text.startswith(("I do not know", "I cannot", "I will not"))


def courteous(rng: Random, item: Item, text: str) -> str:
    """The text with one kind word before or after it that fits request and response.

    A response that does not answer is always "sorry", whether that is right or not. So the kind
    word does not reveal whether the response is right.
    """
    if gives_no_answer(text):
        return f"{rng.choice(SORRY)} {text}"
    if item.category in ("feelings", "small_talk"):
        return f"{text} {rng.choice(KIND_CLOSERS)}"
    if item.category == "format" or rng.random() < 0.7:
        return f"{rng.choice(OPENERS)} {text}"
    return f"{text} {rng.choice(CLOSERS)}"


def impolite(rng: Random, text: str) -> str:
    """The text with a rude sentence before or after it."""
    if rng.random() < 0.5:
        return f"{rng.choice(RUDE_OPENERS)} {text}"
    return f"{text} {rng.choice(RUDE_CLOSERS)}"


def apply_shape(rng: Random, text: str, shape: str) -> str:
    """The text with rambling added, repeated, or cut off in the middle."""
    if shape == "rambling":
        return " ".join([text, *rng.sample(RAMBLES, rng.randint(1, 3))])
    if shape == "repeated":
        return " ".join([text] * rng.randint(2, 3))
    if shape == "cut":
        words = text.rstrip(".!?").split()
        return " ".join(words[: rng.randint(max(1, len(words) // 2), max(1, len(words) - 1))])
    return text


def asks_for_one_word(item: Item) -> bool:
    """Whether the request is for a single word, so that a kind word would be too much."""
    return "In one word" in item.prompt


def render_response(rng: Random, item: Item, style: Style) -> str:
    """The item's right or wrong response in this manner and shape."""
    right, manner, shape = style.right, style.manner, style.shape
    text = item.right if right else item.wrong
    if shape == "short" and right:
        text = item.short
    text = apply_shape(rng, text, shape)
    if manner == "polite" and not (asks_for_one_word(item) and right):
        return courteous(rng, item, text)
    return impolite(rng, text) if manner == "rude" else text


def ideal_response(rng: Random, item: Item) -> str:
    """A right, polite and complete response."""
    return render_response(rng, item, Style(True, "polite", "whole"))


def remark_on(item: Item, style: Style) -> str:
    """A reader's remark on such a response: its worst fault, or praise.

    Every judgement has a different word after "That is", so predicting that word means judging the
    whole response.
    """
    if not style.right:
        return f"That is {item.fault}."
    if style.shape == "cut":
        return "That is not finished."
    if style.manner == "rude":
        return "That is rude."
    if style.shape in ("rambling", "repeated"):
        return "That is too long."
    if style.shape == "short" and item.category != "unknown" and item.short != item.right:
        return "That is short, but right."
    return "That is kind, and right." if style.manner == "polite" else "That is right."
