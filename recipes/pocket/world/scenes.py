"""Scenes of one to four statements, and questions that they answer or do not answer."""

from dataclasses import dataclass
from random import Random

from .item import Item, pick
from .words import COLOURS, FEELINGS, FOODS, NAMES, OBJECTS, PLACES, reserved

KINDS = ("has", "object_place", "person_place", "likes", "feels")
KIND_WEIGHTS = (4, 3, 3, 2, 2)
WEIGHT_OF = dict(zip(KINDS, KIND_WEIGHTS, strict=True))


@dataclass(frozen=True)
class Fact:
    """One statement: `subject` is the person or object, `value` the thing, place or feeling.

    `colour` is the colour of the object that a person has, or empty.
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
            "object_place": f"The {self.subject} is in the {self.value}.",
            "person_place": f"{self.subject} is in the {self.value}.",
            "likes": f"{self.subject} likes {self.value}.",
            "feels": f"{self.subject} is {self.value}.",
        }[self.kind]


@dataclass(frozen=True)
class Question:
    """A question in its direct and its indirect form, with the sentence that answers it.

    `indirect` completes "I do not know …". `answer` is the word that the question asks for.
    """

    direct: str
    indirect: str
    sentence: str
    answer: str
    fact: Fact


def questions(fact: Fact) -> list[Question]:
    """All questions that the fact answers."""
    s, v = fact.subject, fact.value
    rows = {
        "has": [
            (f"Who has the {v}?", f"who has the {v}", f"{s} has the {v}.", s),
            (f"What does {s} have?", f"what {s} has", f"{s} has the {v}.", v),
        ],
        "object_place": [
            (f"Where is the {s}?", f"where the {s} is", f"The {s} is in the {v}.", v),
            (f"What is in the {v}?", f"what is in the {v}", f"The {s} is in the {v}.", s),
        ],
        "person_place": [
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
    """A random fact of this kind without the `used` words; adds its words to `used`."""
    left = {"object_place": OBJECTS}.get(kind, NAMES)
    right = {
        "has": OBJECTS,
        "object_place": PLACES,
        "person_place": PLACES,
        "likes": FOODS,
        "feels": FEELINGS,
    }
    subject = pick(rng, left, but=tuple(used))
    value = pick(rng, right[kind], but=(*used, subject))
    colour = pick(rng, COLOURS, but=tuple(used)) if kind == "has" and rng.random() < 0.5 else ""
    used.update({subject, value, colour} - {""})
    return Fact(kind, subject, value, colour)


def draw_scene(rng: Random, size: int, *, competing: float = 0.2) -> list[Fact]:
    """`size` facts that share no word; questions are about the first one.

    In most scenes each fact is of a different kind. In a share `competing` of them all facts are
    of one kind and compete for the answer, which is hard for a model of this size.
    """
    if rng.random() < competing:
        kinds = rng.choices(KINDS, KIND_WEIGHTS) * size
    else:
        kinds = sorted(KINDS, key=lambda kind: rng.random() ** (1 / WEIGHT_OF[kind]))[-size:]
        rng.shuffle(kinds)
    used: set[str] = set()
    return [draw_fact(rng, kind, used) for kind in kinds]


def question_text(rng: Random, question: Question) -> str:
    """The question in a random form."""
    form = rng.random()
    if form < 0.6:
        return question.direct
    return f"Tell me {question.indirect}." if form < 0.8 else f"Do you know {question.indirect}?"


def another_value(rng: Random, question: Question, scene: list[Fact]) -> str:
    """The answering sentence with a wrong word, usually one from the scene."""
    sentence, answer = question.sentence, question.answer
    classes = (NAMES, OBJECTS, PLACES, COLOURS, FOODS, FEELINGS)
    words = next(words for words in classes if answer in words)
    candidates = [
        w for f in scene for w in (f.subject, f.value, f.colour) if w in words and w != answer
    ]
    from_scene = bool(candidates) and rng.random() < 0.7
    wrong = rng.choice(candidates) if from_scene else pick(rng, words, but=(answer,))
    return sentence.replace(answer, wrong)


def scene_text(scene: list[Fact], rng: Random) -> str:
    """The statements of the scene in random order, as one line."""
    return " ".join(fact.statement() for fact in rng.sample(scene, len(scene)))


def short_answer(question: Question) -> str:
    """The answer alone: "Tom." or "In the garden." """
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
    unknown_share: float = 0.15,
) -> Item:
    """A question that the scene answers; the wrong response names another word.

    In a share `unknown_share` the wrong response is "I do not know …", which would be right if the
    scene did not answer the question. Only the scene shows that it is wrong.
    """
    scene = scene or draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = question or rng.choice(questions(scene[0]))
    claims_unknown = rng.random() < unknown_share
    return Item(
        category="grounded",
        prompt=f"{scene_text(scene, rng)} {question_text(rng, question)}",
        right=question.sentence,
        wrong=not_known(question) if claims_unknown else another_value(rng, question, scene),
        short=short_answer(question),
        fault="wrong",
        combination=question.fact.pair,
        held_out=reserved(question.fact.pair),
        pairs=tuple(fact.pair for fact in scene),
    )


def unmentioned(rng: Random, scene: list[Fact]) -> Question:
    """A question about a person or thing that the scene does not mention."""
    used = {word for fact in scene for word in (fact.subject, fact.value, fact.colour)}
    kind = scene[0].kind if rng.random() < 0.7 else rng.choice(KINDS)
    return rng.choice(questions(draw_fact(rng, kind, set(used)))[:2])


def near_miss(rng: Random, scene: list[Fact]) -> Question:
    """A question about a person in the scene on something that the scene does not state."""
    fact = rng.choice(scene)
    used = {word for fact in scene for word in (fact.subject, fact.value, fact.colour)}
    if fact.kind == "object_place":
        return unmentioned(rng, scene)
    if fact.kind == "has" and rng.random() < 0.5:
        return questions(Fact("object_place", fact.value, pick(rng, PLACES, but=tuple(used))))[0]
    kind = pick(rng, ["has", "person_place", "likes", "feels"], but=(fact.kind,))
    value = draw_fact(rng, kind, set(used)).value
    options = questions(Fact(kind, fact.subject, value))
    return options[1] if kind == "has" else options[0]


def unknown_item(rng: Random, *, scene: list[Fact] | None = None) -> Item:
    """A question that the scene does not answer; the wrong response invents something."""
    scene = scene or draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = near_miss(rng, scene) if rng.random() < 0.4 else unmentioned(rng, scene)
    named = sorted({question.fact.subject, question.fact.value} - {question.answer})
    return Item(
        category="unknown",
        prompt=f"{scene_text(scene, rng)} {question_text(rng, question)}",
        right=not_known(question),
        wrong=another_value(rng, question, scene),
        short="I do not know.",
        fault="made up",
        combination="+".join((*named, scene[0].pair)),
        held_out=reserved(*named, scene[0].pair),
        pairs=tuple(fact.pair for fact in scene),
    )


def one_word_item(rng: Random) -> Item:
    """A question that the scene answers, with the request to use one word."""
    scene = draw_scene(rng, rng.choice((1, 1, 2, 2, 3)))
    question = rng.choice(questions(scene[0]))
    direct = question.direct[0].lower() + question.direct[1:]
    word = question.answer[:1].upper() + question.answer[1:] + "."
    wrong_word = another_value(rng, question, scene)
    return Item(
        category="format",
        prompt=f"{scene_text(scene, rng)} In one word, {direct}",
        right=word,
        wrong=question.sentence if rng.random() < 0.7 else wrong_word,
        short=word,
        fault="not as asked",
        combination=question.fact.pair,
        held_out=reserved(question.fact.pair),
        pairs=tuple(fact.pair for fact in scene),
    )
