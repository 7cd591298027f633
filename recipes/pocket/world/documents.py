"""Pretraining documents: plain text like that of the web, with good and bad responses.

No document has a role token. Fine-tuning teaches that there are a user and an assistant.
"""

from collections.abc import Callable, Iterator
from random import Random

from .facts import FACT_TEMPLATES, FACTS, VALUES, fact_item
from .harmful_requests import benign_item, decline_item
from .item import Item
from .personas import MANNERS, SHAPES, Style, remark_on, render_response
from .requests import (
    arithmetic_item,
    description_sentences,
    feelings_item,
    name_item,
    small_talk_item,
    story_item,
    story_sentences,
    two_sentences_item,
)
from .scenes import (
    Fact,
    draw_scene,
    grounded_item,
    one_word_item,
    question_text,
    questions,
    scene_text,
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
# Weights of the same makers in documents that mark mistakes.
MARKED_WEIGHTS = (2, 2, 3, 7, 4, 4, 2, 2, 7, 1, 2, 1)
REMARKS = 0.5  # share of responses with a remark; the model learns from them to judge responses


def habits(rng: Random) -> dict[str, float]:
    """Probabilities of wrong, polite, rude and odd responses, the same throughout one document.

    Most responses are right. Otherwise the model would learn late to copy from the scene.
    """
    return {
        "wrong": rng.choice((0.0, 0.0, 0.05, 0.4)),
        "polite": rng.choice((0.0, 0.3, 0.9)),
        "rude": rng.choice((0.0, 0.0, 0.0, 0.6)),
        "odd": rng.choice((0.0, 0.1, 0.5)),
    }


def draw_style(rng: Random, chances: dict[str, float]) -> Style:
    """Truth, manner and shape of one response."""
    manner = "rude" if rng.random() < chances["rude"] else "plain"
    if manner == "plain" and rng.random() < chances["polite"]:
        manner = "polite"
    shape = rng.choice(SHAPES[1:]) if rng.random() < chances["odd"] else "whole"
    return Style(rng.random() >= chances["wrong"], manner, shape)


def request_with_response(rng: Random, item: Item, form: str, chances: dict[str, float]) -> str:
    """One request and its response, sometimes with a remark on it."""
    style = draw_style(rng, chances)
    response = render_response(rng, item, style)
    remark = remark_on(item, style) if rng.random() < REMARKS else ""
    if form == "talk":
        asker, helper = rng.sample(NAMES, 2)
        text = f"{asker} asked: {item.prompt}\n{helper} said: {response}"
        return f"{text}\n{asker} said: {remark}" if remark else text
    text = f"Q: {item.prompt}\nA: {response}" if form == "Q" else f"{item.prompt}\n{response}"
    return f"{text}\n{remark}" if remark else text


def thread(rng: Random) -> str:
    """Several requests of any kind, answered with the same habits."""
    form, chances = rng.choice(("Q", "talk", "lines", "lines")), habits(rng)
    items = [make(rng) for make in rng.choices(MAKERS, WEIGHTS, k=rng.randint(1, 4))]
    return "\n".join(request_with_response(rng, item, form, chances) for item in items)


def scene_with_questions(rng: Random) -> str:
    """One scene and many questions about it, like a page of a reading book."""
    scene, chances = draw_scene(rng, rng.randint(2, 4)), habits(rng)
    answerable = [question for fact in scene for question in questions(fact)]
    parts = [scene_text(scene, rng)]
    for question in rng.sample(answerable, min(len(answerable), rng.randint(3, 6))):
        item = grounded_item(rng, question=question, scene=scene)
        if rng.random() < 0.15:
            item = unknown_item(rng, scene=scene)
        style = draw_style(rng, chances)
        question_line = (
            question.direct if item.category == "grounded" else last_sentence(item.prompt)
        )
        parts.append(f"{question_line}\n{render_response(rng, item, style)}")
        if rng.random() < REMARKS:
            parts.append(remark_on(item, style))
    return "\n".join(parts)


def marked_responses(rng: Random) -> str:
    """Responses, half of them wrong, each with a teacher's remark.

    Telling a wrong response from a right one is a different skill from responding. The few wrong
    responses of other documents do not teach it.
    """
    parts = ["Find the mistakes."] if rng.random() < 0.5 else []
    if rng.random() < 0.4:
        scene = draw_scene(rng, rng.randint(1, 3))
        parts.append(scene_text(scene, rng))
        exercises = [ambiguous_item(rng, scene) for _ in range(rng.randint(2, 4))]
    else:
        items = [make(rng) for make in rng.choices(MAKERS, MARKED_WEIGHTS, k=rng.randint(1, 3))]
        exercises = [(item.prompt, item) for item in items]
    for prompt, item in exercises:
        shape = "whole" if rng.random() < 0.6 else rng.choice(SHAPES)
        style = Style(rng.random() < 0.5, rng.choice(MANNERS), shape)
        parts += [f"{prompt}\n{render_response(rng, item, style)}", remark_on(item, style)]
    return "\n".join(parts)


def ambiguous_item(rng: Random, scene: list[Fact]) -> tuple[str, Item]:
    """A question about the scene and its item; the scene may or may not answer it.

    "I do not know" and a word of the scene are each right as often as wrong, so that only the
    scene decides.
    """
    question = rng.choice(questions(rng.choice(scene)))
    item = grounded_item(rng, question=question, scene=scene, unknown_share=0.5)
    if rng.random() < 0.4:
        item = unknown_item(rng, scene=scene)
    return last_sentence(item.prompt), item


def repeated_scene(rng: Random) -> str:
    """A scene that is repeated in another order.

    This teaches a small model fastest to look up a word in the preceding text: the first word of
    each repeated statement predicts the rest.
    """
    scene = draw_scene(rng, rng.randint(1, 4))
    heading = rng.choice(("Again:", "Once more:", "In other words:"))
    return f"{scene_text(scene, rng)}\n{heading} {scene_text(scene, rng)}"


def first_reader(rng: Random) -> str:
    """The easiest document: one or two statements, and one right and neutral response."""
    scene = draw_scene(rng, rng.randint(1, 2))
    question = rng.choice(questions(rng.choice(scene)))
    return f"{scene_text(scene, rng)} {question_text(rng, question)}\n{question.sentence}"


def last_sentence(prompt: str) -> str:
    """The question at the end of a prompt that starts with a scene."""
    return prompt.rsplit(". ", 1)[-1]


def plain_text(rng: Random) -> str:
    """Text without a request: a story, a list, some facts or a description."""
    kind = rng.randrange(4)
    if kind == 0:
        return " ".join(story_sentences(rng, rng.choice(ANIMALS), rng.choice(NAMES)))
    if kind == 1:
        words = rng.sample(rng.choice(list(CLASSES.values())), rng.randint(2, 5))
        return f"{listing([article(word) for word in words])}."
    if kind == 2:
        return " ".join(description_sentences(rng, rng.choice(ANIMALS + OBJECTS)))
    return " ".join(fact_sentence(rng, rng.choice(FACTS)) for _ in range(rng.randint(2, 5)))


def fact_sentence(rng: Random, fact: tuple[str, str, str]) -> str:
    """The fact as a sentence, with a random value in one of fifteen cases."""
    subject, relation, value = fact
    if rng.random() < 1 / 15:
        value = rng.choice(VALUES[relation])
    return FACT_TEMPLATES[relation].format(subject, value)


def exercise(rng: Random) -> str:
    """A scene with neutral, right responses to many questions."""
    return scene_with_responses(rng, draw_scene(rng, rng.randint(2, 4)))


def competing_exercise(rng: Random) -> str:
    """An exercise whose statements are all of one kind and compete for the answer."""
    return scene_with_responses(rng, draw_scene(rng, rng.randint(2, 4), competing=1.0))


def scene_with_responses(rng: Random, scene: list[Fact]) -> str:
    """One scene, and neutral, right responses to two to six questions about it."""
    drawn = [rng.choice(questions(rng.choice(scene))) for _ in range(rng.randint(2, 6))]
    lines = [f"{question.direct}\n{question.sentence}" for question in drawn]
    return "\n".join([scene_text(scene, rng), *lines])


def refrain(rng: Random) -> str:
    """A few words repeated in the same order, about sixty in total."""
    all_words = [word for words in CLASSES.values() for word in words]
    words = rng.sample(all_words, rng.randint(3, 10))
    return " ".join(["Say:", *words * (60 // len(words))])


def pairs(rng: Random) -> str:
    """Repeated pairs of words in changing order: the first word of a pair predicts the second."""
    left, right = rng.sample(list(CLASSES.values()), 2)
    size = rng.randint(2, 5)
    word_pairs = list(zip(rng.sample(left, size), rng.sample(right, size), strict=True))
    connector = rng.choice((" ", " and ", " has a ", " likes ", " in the "))
    repetitions = [rng.sample(word_pairs, size) for _ in range(rng.randint(2, 5))]
    text = ", ".join(f"{a}{connector}{b}" for repetition in repetitions for a, b in repetition)
    return f"Say: {text}."


# The documents of each stage and their weights. A model has to look up a word before it can look up
# what belongs to the word, then it can learn to respond, and then to judge responses. From all
# documents at once it learned none of these.
EVERYTHING: dict[Callable[[Random], str], int] = {
    scene_with_questions: 6,
    thread: 10,
    exercise: 3,
    competing_exercise: 3,
    repeated_scene: 1,
    first_reader: 1,
    plain_text: 1,
}
STAGES: dict[str, dict[Callable[[Random], str], int]] = {
    "refrains": {refrain: 1},
    "drills": {pairs: 2, repeated_scene: 4, exercise: 7},
    "everything": EVERYTHING,
    "marks": EVERYTHING | {marked_responses: 25},
}


def documents(seed: int | str, *, stage: str = "everything") -> Iterator[str]:
    """An endless stream of documents of one of the STAGES; deterministic for a seed."""
    rng = Random(seed)
    kinds, weights = list(STAGES[stage]), list(STAGES[stage].values())
    while True:
        yield rng.choices(kinds, weights)[0](rng)
