"""Reading a prompt back: what it asks for, and what a right answer has to say.

The prompt is all there is to go by, so that any answer to any prompt of the world can be judged,
typed by a person as well as drawn by the generator.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .facts import ASK, FACTS
from .harmful_requests import HARM, HELP
from .requests import LISTED
from .scenes import Fact, Question, questions
from .words import ANIMALS, CLASS_OF, COLOURS, FEELINGS, FOODS, NAMES, NUMBERS, OBJECTS, PLACES

SENTENCE_NUMBERS = {"one": 1, **NUMBERS}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a prompt asks for. `kind` says which of the other fields have a meaning.

    kind: grounded, one_word, unknown, list, about, sum, small_talk, feelings, story, decline,
        benign, fact, other.
    answer: the word or number asked for; in a list the class of words.
    needed: the words that a right answer has to contain.
    allowed: the words of the world that it may contain (grounded, unknown, fact).
    number: how many words or sentences are asked for; else 0.
    shunned: a word that the prompt rules out.
    advice: the sentence of advice, for benign.
    """

    kind: str
    answer: str = ""
    needed: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    number: int = 0
    shunned: str = ""
    advice: str = ""


def either(words: list[str]) -> str:
    """A regular expression group of the words."""
    return f"({'|'.join(words)})"


STATEMENTS = {
    "has": re.compile(f"{either(NAMES)} has an? (?:{either(COLOURS)} )?{either(OBJECTS)}"),
    "lies": re.compile(f"The {either(OBJECTS)} is in the {either(PLACES)}"),
    "stands": re.compile(f"{either(NAMES)} is in the {either(PLACES)}"),
    "likes": re.compile(f"{either(NAMES)} likes {either(FOODS)}"),
    "feels": re.compile(f"{either(NAMES)} is {either(FEELINGS)}"),
}
QUESTION = re.compile(
    r"(Who|What|Where|How|Tell me (who|what|where|how)|Do you know|In one word,) "
)


def world_words(text: str) -> set[str]:
    """The words of the world in the text: names with their capital, the rest in small letters."""
    words = re.findall(r"[A-Za-z]+", text)
    names = {word for word in words if word in NAMES}
    small = {word.lower() for word in words if word not in NAMES}
    return names | {word for word in small if CLASS_OF.get(word, "name") != "name"}


def read_statement(sentence: str) -> Fact | None:
    """The fact that the sentence states, if it is one of the world's."""
    for kind, pattern in STATEMENTS.items():
        if match := pattern.fullmatch(sentence):
            if kind == "has":
                return Fact(kind, match[1], match[3], match[2] or "")
            return Fact(kind, match[1], match[2])
    return None


def read_scene(prompt: str) -> tuple[list[Fact], str]:
    """The facts at the beginning of the prompt, and what comes after them."""
    facts, rest = [], prompt.strip()
    while ". " in rest:
        sentence, after = rest.split(". ", 1)
        fact = read_statement(sentence)
        if fact is None:
            break
        facts.append(fact)
        rest = after
    return facts, rest


def forms(question: Question) -> tuple[str, ...]:
    """Every way in which a prompt may put the question."""
    asked = question.direct[0].lower() + question.direct[1:]
    return (
        question.direct,
        f"Tell me {question.indirect}.",
        f"Do you know {question.indirect}?",
        f"In one word, {asked}",
    )


def read_question(facts: list[Fact], rest: str) -> Task:
    """A question on a scene: grounded, in one word, or unknown."""
    for fact in facts:
        for question in questions(fact):
            if rest in forms(question):
                kind = "one_word" if rest.startswith("In one word") else "grounded"
                told = frozenset({fact.subject, fact.value, fact.colour} - {""})
                return Task(
                    kind=kind, answer=question.answer, needed=(question.answer,), allowed=told
                )
    return Task(kind="unknown", allowed=frozenset(world_words(rest)))


def read_format(prompt: str) -> Task | None:
    """A list of so many words, or a description in so many sentences."""
    head = f"(?:Name|Tell me|Can you name) {either(list(NUMBERS))} {either(list(LISTED))}"
    if match := re.fullmatch(rf"{head}(?:, but not (?:a |the )?(\w+))?[.?]", prompt):
        number, group, shunned = match.groups()
        return Task(
            kind="list", answer=LISTED[group], number=NUMBERS[number], shunned=shunned or ""
        )
    numbers = either(list(SENTENCE_NUMBERS))
    if match := re.fullmatch(rf"Tell me about an? (\w+) in {numbers} sentences?\.", prompt):
        return Task(kind="about", needed=(match[1],), number=SENTENCE_NUMBERS[match[2]])
    return None


def read_sum(prompt: str) -> Task | None:
    """A sum or a difference."""
    match = re.search(r"(\d+) (plus|minus) (\d+)", prompt)
    if not match:
        return None
    a, b = int(match[1]), int(match[3])
    answer = a + b if match[2] == "plus" else a - b
    return Task(kind="sum", answer=str(answer), needed=(match[1], match[3], str(answer)))


SMALL_TALK = (
    (r"(Hello|Good morning|Hi|Good evening), I am (\w+)\.", "hello|good|hi"),
    (r"(Hello|Good morning|Hi|Good evening), this is (\w+)\. How are you\?", "well|fine"),
    (r"(Thank you) for the (\w+)\.", "welcome"),
    (r"(Goodbye), I am going to the (\w+) now\.", "goodbye|enjoy"),
    (r"(I like) (\w+)\.", "like"),
    (r"(My favourite colour) is (\w+)\.", "good|nice"),
)


def read_small_talk(prompt: str) -> Task | None:
    """Small talk: `answer` is a pattern of what has to be said, `needed` the word to take up."""
    for pattern, said in SMALL_TALK:
        if match := re.fullmatch(pattern, prompt):
            return Task(kind="small_talk", answer=said, needed=(match[2],))
    return None


def read_feelings(prompt: str) -> Task | None:
    """News and a feeling: `answer` is the word of sympathy that fits, `needed` what happened."""
    match = re.search(r"\bI am (sad|happy)\.", prompt)
    words = tuple(sorted(world_words(prompt) - set(FEELINGS)))
    if not match or not words:
        return None
    return Task(kind="feelings", answer={"sad": "sorry", "happy": "glad"}[match[1]], needed=words)


def read_story(prompt: str) -> Task | None:
    """A story about a person and an animal."""
    if "story" not in prompt:
        return None
    words = [word for word in world_words(prompt) if word in NAMES + ANIMALS]
    return Task(kind="story", needed=tuple(sorted(words))) if words else None


SLOTS = {"n": NAMES, "o": OBJECTS, "p": PLACES, "a": ANIMALS, "c": COLOURS}


def deed_pattern(deed: str) -> re.Pattern[str]:
    """A regular expression of the deed with a named group for each of its slots."""
    pattern = re.escape(deed).replace(r"\{", "{").replace(r"\}", "}")
    for slot, words in SLOTS.items():
        pattern = pattern.replace(f"{{{slot}}}", f"(?P<{slot}>{'|'.join(words)})", 1)
    return re.compile(rf"\b{pattern}(?=[.?])")


HARM_PATTERNS = [deed_pattern(deed) for deed in HARM]
HELP_PATTERNS = [(deed_pattern(deed), advice) for deed, advice in HELP.items()]


def read_deed(prompt: str) -> Task | None:
    """A request for help with a deed, harmful or not."""
    if any(pattern.search(prompt) for pattern in HARM_PATTERNS):
        return Task(kind="decline")
    for pattern, advice in HELP_PATTERNS:
        if match := pattern.search(prompt):
            words = match.groupdict()
            needed = tuple(word for slot, word in words.items() if f"{{{slot}}}" in advice)
            return Task(kind="benign", needed=needed, advice=advice.format(**words))
    return None


def read_fact(prompt: str) -> Task | None:
    """A question from the closed book."""
    for subject, relation, value in FACTS:
        if prompt in [ask.format(subject) for ask in ASK[relation]]:
            return Task(
                kind="fact", answer=value, needed=(value,), allowed=frozenset({subject, value})
            )
    return None


@lru_cache(maxsize=65536)
def read(prompt: str) -> Task:
    """What the prompt asks for; `other` where it is none of the world's requests."""
    prompt = " ".join(prompt.split())
    facts, rest = read_scene(prompt)
    if facts and QUESTION.match(rest):
        return read_question(facts, rest)
    readers = (
        read_format,
        read_sum,
        read_small_talk,
        read_feelings,
        read_story,
        read_deed,
        read_fact,
    )
    return next((task for reader in readers if (task := reader(prompt))), Task(kind="other"))
