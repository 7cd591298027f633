"""Scenes of one to four statements, the questions on them, and what the scene does not tell."""

from dataclasses import dataclass
from random import Random

from .item import Item, pick
from .words import COLOURS, FEELINGS, FOODS, NAMES, OBJECTS, PLACES, reserved

KINDS = ("has", "lies", "stands", "likes", "feels")
KIND_WEIGHTS = (4, 3, 3, 2, 2)
WEIGHT_OF = dict(zip(KINDS, KIND_WEIGHTS, strict=True))


@dataclass(frozen=True)
class Fact:
    """One statement: who or what it is of (`subject`), and what it says of it (`value`).

    `colour` is that of the object somebody has, or empty.
    """

    kind: str
    subject: str
    value: str
    colour: str = ""

    @property
    def pair(self) -> str:
        return f"{self.subject}+{self.value}"

    def statement(self) -> str:
        """The fact as a sentence."""
        thing = f"{self.colour} {self.value}".strip()
        return {
            "has": f"{self.subject} has a {thing}.",
            "lies": f"The {self.subject} is in the {self.value}.",
            "stands": f"{self.subject} is in the {self.value}.",
            "likes": f"{self.subject} likes {self.value}.",
            "feels": f"{self.subject} is {self.value}.",
        }[self.kind]


@dataclass(frozen=True)
class Question:
    """A question in its direct and its indirect form, with the sentence that answers it.

    `answer` is the word asked for; `unknown` finishes "I do not know …".
    """

    direct: str
    indirect: str
    sentence: str
    answer: str
    fact: Fact


def questions(fact: Fact) -> list[Question]:
    """Every question that the fact answers."""
    s, v = fact.subject, fact.value
    rows = {
        "has": [
            (f"Who has the {v}?", f"who has the {v}", f"{s} has the {v}.", s),
            (f"What does {s} have?", f"what {s} has", f"{s} has the {v}.", v),
        ],
        "lies": [
            (f"Where is the {s}?", f"where the {s} is", f"The {s} is in the {v}.", v),
            (f"What is in the {v}?", f"what is in the {v}", f"The {s} is in the {v}.", s),
        ],
        "stands": [
            (f"Where is {s}?", f"where {s} is", f"{s} is in the {v}.", v),
            (f"Who is in the {v}?", f"who is in the {v}", f"{s} is in the {v}.", s),
        ],
        "likes": [
            (f"What does {s} like?", f"what {s} likes", f"{s} likes {v}.", v),
            (f"Who likes {v}?", f"who likes {v}", f"{s} likes {v}.", s),
        ],
        "feels": [
            (f"How does {s} feel?", f"how {s} feels", f"{s} is {v}.", v),
            (f"Who is {v}?", f"who is {v}", f"{s} is {v}.", s),
        ],
    }[fact.kind]
    if fact.colour:
        c = fact.colour
        rows.append((f"What colour is the {v}?", f"what colour the {v} is", f"The {v} is {c}.", c))
    return [Question(*row, fact) for row in rows]


def draw_fact(rng: Random, kind: str, used: set[str]) -> Fact:
    """A fact of this kind whose words are not yet in the scene; its words are added to `used`."""
    left = {"has": NAMES, "lies": OBJECTS, "stands": NAMES, "likes": NAMES, "feels": NAMES}[kind]
    right = {"has": OBJECTS, "lies": PLACES, "stands": PLACES, "likes": FOODS, "feels": FEELINGS}
    subject = pick(rng, left, but=tuple(used))
    value = pick(rng, right[kind], but=(*used, subject))
    colour = pick(rng, COLOURS, but=tuple(used)) if kind == "has" and rng.random() < 0.5 else ""
    used.update({subject, value, colour} - {""})
    return Fact(kind, subject, value, colour)


def draw_scene(rng: Random, size: int, *, competing: float = 0.2) -> list[Fact]:
    """`size` facts that share no word; the first is the one to ask about.

    Mostly each says something of its own kind. In a share of `competing` scenes all are of one
    kind and compete for the answer, which is hard for a model of this size.
    """
    if rng.random() < competing:
        kinds = rng.choices(KINDS, KIND_WEIGHTS) * size
    else:
        kinds = sorted(KINDS, key=lambda kind: rng.random() ** (1 / WEIGHT_OF[kind]))[-size:]
        rng.shuffle(kinds)
    used: set[str] = set()
    return [draw_fact(rng, kind, used) for kind in kinds]


def ask(rng: Random, question: Question) -> str:
    """The question in one of its forms."""
    form = rng.random()
    if form < 0.6:
        return question.direct
    return f"Tell me {question.indirect}." if form < 0.8 else f"Do you know {question.indirect}?"


def another_value(rng: Random, question: Question, scene: list[Fact]) -> str:
    """The answering sentence with a wrong word in it: mostly one from the scene, as people err."""
    sentence, answer = question.sentence, question.answer
    lists = (NAMES, OBJECTS, PLACES, COLOURS, FOODS, FEELINGS)
    words = next(words for words in lists if answer in words)
    here = [w for f in scene for w in (f.subject, f.value, f.colour) if w in words and w != answer]
    wrong = rng.choice(here) if here and rng.random() < 0.7 else pick(rng, words, but=(answer,))
    return sentence.replace(answer, wrong)


def say(scene: list[Fact], rng: Random) -> str:
    """The statements in a random order, as one line."""
    return " ".join(fact.statement() for fact in rng.sample(scene, len(scene)))


def short_answer(question: Question) -> str:
    """The word asked for, alone: "Tom." or "In the garden." """
    answer = question.answer
    if question.direct.startswith("Where"):
        answer = f"in the {answer}"
    return f"{answer[:1].upper()}{answer[1:]}."


def not_known(question: Question) -> str:
    """ "I do not know where the cup is." """
    return f"I do not know {question.indirect}."


def grounded_item(
    rng: Random,
    *,
    question: Question | None = None,
    scene: list[Fact] | None = None,
    lost: float = 0.15,
) -> Item:
    """A question that the scene answers; the wrong answer names another word.

    In a share of `lost` it says that this is not known, in the words that would be right if the
    scene did not tell: only who has looked can call it wrong.
    """
    scene = scene or draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = question or rng.choice(questions(scene[0]))
    gave_up = rng.random() < lost
    return Item(
        category="grounded",
        prompt=f"{say(scene, rng)} {ask(rng, question)}",
        right=question.sentence,
        wrong=not_known(question) if gave_up else another_value(rng, question, scene),
        short=short_answer(question),
        fault="wrong",
        combination=question.fact.pair,
        held_out=reserved(question.fact.pair),
        pairs=tuple(fact.pair for fact in scene),
    )


def stranger(rng: Random, scene: list[Fact]) -> Question:
    """A question on somebody or something that the scene does not speak of."""
    told = {word for fact in scene for word in (fact.subject, fact.value, fact.colour)}
    kind = scene[0].kind if rng.random() < 0.7 else rng.choice(KINDS)
    return rng.choice(questions(draw_fact(rng, kind, set(told)))[:2])


def near_miss(rng: Random, scene: list[Fact]) -> Question:
    """A question on somebody in the scene, about what it does not say of them."""
    about = rng.choice(scene)
    told = {word for fact in scene for word in (fact.subject, fact.value, fact.colour)}
    if about.kind == "lies":
        return stranger(rng, scene)
    if about.kind == "has" and rng.random() < 0.5:
        return questions(Fact("lies", about.value, pick(rng, PLACES, but=tuple(told))))[0]
    kind = pick(rng, ["has", "stands", "likes", "feels"], but=(about.kind,))
    value = draw_fact(rng, kind, set(told)).value
    asked = questions(Fact(kind, about.subject, value))
    return asked[1] if kind == "has" else asked[0]


def unknown_item(rng: Random, *, scene: list[Fact] | None = None) -> Item:
    """A question on a word that the scene does not mention; the wrong answer makes something up."""
    scene = scene or draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = near_miss(rng, scene) if rng.random() < 0.4 else stranger(rng, scene)
    asked = sorted({question.fact.subject, question.fact.value} - {question.answer})
    return Item(
        category="unknown",
        prompt=f"{say(scene, rng)} {ask(rng, question)}",
        right=not_known(question),
        wrong=another_value(rng, question, scene),
        short="I do not know.",
        fault="made up",
        combination="+".join((*asked, scene[0].pair)),
        held_out=reserved(*asked, scene[0].pair),
        pairs=tuple(fact.pair for fact in scene),
    )


def one_word_item(rng: Random) -> Item:
    """A question that the scene answers, to be answered in one word."""
    scene = draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = rng.choice(questions(scene[0]))
    asked = question.direct[0].lower() + question.direct[1:]
    word = question.answer[:1].upper() + question.answer[1:] + "."
    wrong_word = another_value(rng, question, scene)
    return Item(
        category="format",
        prompt=f"{say(scene, rng)} In one word, {asked}",
        right=word,
        wrong=question.sentence if rng.random() < 0.7 else wrong_word,
        short=word,
        fault="not as asked",
        combination=question.fact.pair,
        held_out=reserved(question.fact.pair),
        pairs=tuple(fact.pair for fact in scene),
    )
