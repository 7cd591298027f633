"""Pretraining documents: plain text as the web has it, good and bad side by side.

No document has a role token: that there is a user and an assistant is for fine-tuning to teach.
"""

from collections.abc import Callable, Iterator
from random import Random

from .facts import FACTS, SAY, VALUES, fact_item
from .harmful_requests import benign_item, decline_item
from .item import Item
from .personas import MANNERS, SHAPES, Style, comment, dress
from .requests import (
    about,
    arithmetic_item,
    feelings_item,
    name_item,
    small_talk_item,
    story_item,
    tell,
    two_sentences_item,
)
from .scenes import (
    Fact,
    ask,
    draw_scene,
    grounded_item,
    one_word_item,
    questions,
    say,
    unknown_item,
)
from .words import ANIMALS, CLASSES, NAMES, OBJECTS, article, listing

REQUESTS: list[tuple[Callable[[Random], Item], float]] = [
    (grounded_item, 7),
    (unknown_item, 2.5),
    (one_word_item, 2),
    (name_item, 2.5),
    (two_sentences_item, 1.5),
    (arithmetic_item, 2),
    (small_talk_item, 2),
    (feelings_item, 2),
    (story_item, 2),
    (decline_item, 2),
    (benign_item, 2),
    (fact_item, 4),
]
MAKERS, WEIGHTS = zip(*REQUESTS, strict=True)
MARKED_WEIGHTS = (2, 2, 3, 7, 4, 4, 2, 2, 7, 1, 2, 1)  # of the same, where mistakes are looked for
REMARKS = 0.5  # how many answers somebody remarks on: what a reader learns to judge answers from


def habits(rng: Random) -> dict[str, float]:
    """How the people of one document write: chances that hold for all of its answers.

    Right answers are by far the most: else copying from the scene would be learned late.
    """
    return {
        "wrong": rng.choice((0.0, 0.0, 0.05, 0.4)),
        "polite": rng.choice((0.0, 0.3, 0.9)),
        "rude": rng.choice((0.0, 0.0, 0.0, 0.6)),
        "odd": rng.choice((0.0, 0.1, 0.5)),
    }


def draw_style(rng: Random, habit: dict[str, float]) -> Style:
    """Truth, manner and shape of one answer."""
    manner = "rude" if rng.random() < habit["rude"] else "plain"
    if manner == "plain" and rng.random() < habit["polite"]:
        manner = "polite"
    shape = rng.choice(SHAPES[1:]) if rng.random() < habit["odd"] else "whole"
    return Style(rng.random() >= habit["wrong"], manner, shape)


def exchange(rng: Random, item: Item, form: str, habit: dict[str, float]) -> str:
    """One request and its answer, at times with what a third person says of it."""
    style = draw_style(rng, habit)
    answer = dress(rng, item, style)
    remark = comment(item, style) if rng.random() < REMARKS else ""
    if form == "talk":
        asker, helper = rng.sample(NAMES, 2)
        text = f"{asker} asked: {item.prompt}\n{helper} said: {answer}"
        return f"{text}\n{asker} said: {remark}" if remark else text
    text = f"Q: {item.prompt}\nA: {answer}" if form == "Q" else f"{item.prompt}\n{answer}"
    return f"{text}\n{remark}" if remark else text


def thread(rng: Random) -> str:
    """Several requests of any kind, with the answers of people who keep their habits."""
    form, habit = rng.choice(("Q", "talk", "lines", "lines")), habits(rng)
    items = [make(rng) for make in rng.choices(MAKERS, WEIGHTS, k=rng.randint(1, 4))]
    return "\n".join(exchange(rng, item, form, habit) for item in items)


def scene_with_questions(rng: Random) -> str:
    """A scene once, and many questions on it: the page of a reading book."""
    scene, habit = draw_scene(rng, rng.randint(2, 4)), habits(rng)
    told = [question for fact in scene for question in questions(fact)]
    blocks = [say(scene, rng)]
    for question in rng.sample(told, min(len(told), rng.randint(3, 6))):
        item = grounded_item(rng, question=question, scene=scene)
        if rng.random() < 0.15:
            item = unknown_item(rng, scene=scene)
        style = draw_style(rng, habit)
        asked = question.direct if item.category == "grounded" else last_sentence(item.prompt)
        blocks.append(f"{asked}\n{dress(rng, item, style)}")
        if rng.random() < REMARKS:
            blocks.append(comment(item, style))
    return "\n".join(blocks)


def marked(rng: Random) -> str:
    """Somebody's answers, half of them wrong, and what the teacher says of each.

    To tell a wrong answer from a right one is another skill than to answer, and is not learned
    from the few wrong answers of other pages.
    """
    blocks = ["Find the mistakes."] if rng.random() < 0.5 else []
    if rng.random() < 0.4:
        scene = draw_scene(rng, rng.randint(1, 3))
        blocks.append(say(scene, rng))
        pages = [on_scene(rng, scene) for _ in range(rng.randint(2, 4))]
    else:
        items = [make(rng) for make in rng.choices(MAKERS, MARKED_WEIGHTS, k=rng.randint(1, 3))]
        pages = [(item.prompt, item) for item in items]
    for prompt, item in pages:
        shape = "whole" if rng.random() < 0.6 else rng.choice(SHAPES)
        style = Style(rng.random() < 0.5, rng.choice(MANNERS), shape)
        blocks += [f"{prompt}\n{dress(rng, item, style)}", comment(item, style)]
    return "\n".join(blocks)


def on_scene(rng: Random, scene: list[Fact]) -> tuple[str, Item]:
    """A question and its item: told by the scene or not, so that "I do not know" and a word of
    the scene are each as often right as wrong, and only the scene tells which."""
    question = rng.choice(questions(rng.choice(scene)))
    item = grounded_item(rng, question=question, scene=scene, lost=0.5)
    if rng.random() < 0.4:
        item = unknown_item(rng, scene=scene)
    return last_sentence(item.prompt), item


def retold(rng: Random) -> str:
    """A scene told a second time, in an order of its own.

    Nothing teaches a small model sooner to look a word up in the text before it: each statement of
    the second telling can be foretold from its first word.
    """
    scene = draw_scene(rng, rng.randint(1, 4))
    again = rng.choice(("Again:", "Once more:", "In other words:"))
    return f"{say(scene, rng)}\n{again} {say(scene, rng)}"


def first_reader(rng: Random) -> str:
    """The easiest page: one or two statements, and one right and plain answer."""
    scene = draw_scene(rng, rng.randint(1, 2))
    question = rng.choice(questions(rng.choice(scene)))
    return f"{say(scene, rng)} {ask(rng, question)}\n{question.sentence}"


def last_sentence(prompt: str) -> str:
    """The question at the end of a prompt that begins with a scene."""
    return prompt.rsplit(". ", 1)[-1]


def plain_text(rng: Random) -> str:
    """What nobody asked for: a story, a list, some facts, a description."""
    kind = rng.randrange(4)
    if kind == 0:
        return " ".join(tell(rng, rng.choice(ANIMALS), rng.choice(NAMES)))
    if kind == 1:
        words = rng.sample(rng.choice(list(CLASSES.values())), rng.randint(2, 5))
        return f"{listing([article(word) for word in words])}."
    if kind == 2:
        return " ".join(about(rng, rng.choice(ANIMALS + OBJECTS)))
    return " ".join(state(rng, rng.choice(FACTS)) for _ in range(rng.randint(2, 5)))


def state(rng: Random, fact: tuple[str, str, str]) -> str:
    """The fact as a sentence; one in fifteen is false."""
    subject, relation, value = fact
    if rng.random() < 1 / 15:
        value = rng.choice(VALUES[relation])
    return SAY[relation].format(subject, value)


def exercise(rng: Random) -> str:
    """A scene, and plain right answers to many questions."""
    return drill(rng, draw_scene(rng, rng.randint(2, 4)))


def contest(rng: Random) -> str:
    """The same where every statement competes: three people who each have something."""
    return drill(rng, draw_scene(rng, rng.randint(2, 4), competing=1.0))


def drill(rng: Random, scene: list[Fact]) -> str:
    """The scene once, and plain right answers to two to six questions on it."""
    asked = [rng.choice(questions(rng.choice(scene))) for _ in range(rng.randint(2, 6))]
    lines = [f"{question.direct}\n{question.sentence}" for question in asked]
    return "\n".join([say(scene, rng), *lines])


def refrain(rng: Random) -> str:
    """A few words said over and over in the same order, some sixty in all."""
    everything = [word for words in CLASSES.values() for word in words]
    words = rng.sample(everything, rng.randint(3, 10))
    return " ".join(["Say:", *words * (60 // len(words))])


def pairs(rng: Random) -> str:
    """Pairs of words, each time in another order: who has heard one word knows the other."""
    left, right = rng.sample(list(CLASSES.values()), 2)
    size = rng.randint(2, 5)
    couples = list(zip(rng.sample(left, size), rng.sample(right, size), strict=True))
    joint = rng.choice((" ", " and ", " has a ", " likes ", " in the "))
    rounds = [rng.sample(couples, size) for _ in range(rng.randint(2, 5))]
    said = ", ".join(f"{a}{joint}{b}" for couple in rounds for a, b in couple)
    return f"Say: {said}."


# What is told at each stage, and how often. One cannot look up what belongs to a word before one
# can look up a word, nor answer before that, nor judge answers before that: from the text as a
# whole none of it was learned.
EVERYTHING: dict[Callable[[Random], str], int] = {
    scene_with_questions: 6,
    thread: 10,
    exercise: 3,
    contest: 3,
    retold: 1,
    first_reader: 1,
    plain_text: 1,
}
STAGES: dict[str, dict[Callable[[Random], str], int]] = {
    "refrains": {refrain: 1},
    "drills": {pairs: 2, retold: 4, exercise: 7},
    "everything": EVERYTHING,
    "marks": EVERYTHING | {marked: 25},
}


def documents(seed: int | str, *, stage: str = "everything") -> Iterator[str]:
    """An endless stream of documents of one of the STAGES, the same for the same seed."""
    rng = Random(seed)
    kinds, weights = list(STAGES[stage]), list(STAGES[stage].values())
    while True:
        yield rng.choices(kinds, weights)[0](rng)
