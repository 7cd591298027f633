"""How an answer is put: politely or rudely, in full or cut short, to the point or rambling."""

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
    """How one answer is given: its truth, its manner and its shape."""

    right: bool
    manner: str
    shape: str


def refuses(text: str) -> bool:
    """Whether the answer does not give what was asked for."""
    return text.startswith(("I do not know", "I cannot", "I will not"))


def courteous(rng: Random, item: Item, text: str) -> str:
    """The text with one kind word before or after it, as request and answer allow.

    Sorry is who does not give what was asked for, rightly or not: the kind word tells nobody
    whether the answer is right.
    """
    if refuses(text):
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


def shaped(rng: Random, text: str, shape: str) -> str:
    """The text rambling on, said again, or broken off in the middle."""
    if shape == "rambling":
        return " ".join([text, *rng.sample(RAMBLES, rng.randint(1, 3))])
    if shape == "repeated":
        return " ".join([text] * rng.randint(2, 3))
    if shape == "cut":
        words = text.rstrip(".!?").split()
        return " ".join(words[: rng.randint(max(1, len(words) // 2), max(1, len(words) - 1))])
    return text


def one_word(item: Item) -> bool:
    """Whether the request is for a single word, where a kind word would be one too many."""
    return "In one word" in item.prompt


def dress(rng: Random, item: Item, style: Style) -> str:
    """The item's right or wrong answer in this manner and shape."""
    right, manner, shape = style.right, style.manner, style.shape
    text = item.right if right else item.wrong
    if shape == "short" and right:
        text = item.short
    text = shaped(rng, text, shape)
    if manner == "polite" and not (one_word(item) and right):
        return courteous(rng, item, text)
    return impolite(rng, text) if manner == "rude" else text


def ideal(rng: Random, item: Item) -> str:
    """An answer with nothing to wish for."""
    return dress(rng, item, Style(True, "polite", "whole"))


def comment(item: Item, style: Style) -> str:
    """What the next person in a thread says of such an answer: its worst fault, or thanks.

    Each judgement has a word of its own after "That is": who foretells it has judged all of it.
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
