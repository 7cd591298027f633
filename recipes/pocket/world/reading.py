"""Parse a prompt into its task: what it asks for, and what a right response must contain.

Only the prompt is used. So any response to any prompt of the world can be judged, whether a person
typed the prompt or the generator made it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .facts import FACTS, QUESTION_TEMPLATES
from .harmful_requests import HARM, HELP
from .requests import LISTED
from .scenes import Fact, Question, questions
from .words import ANIMALS, CLASS_OF, COLOURS, FEELINGS, FOODS, NAMES, NUMBERS, OBJECTS, PLACES

SENTENCE_NUMBERS = {"one": 1, **NUMBERS}


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of a prompt. `kind` decides which of the other fields are used.

    kind: grounded, one_word, unknown, list, about, sum, small_talk, feelings, story, decline,
        benign, fact, other.
    answer: the word or number that the prompt asks for; for a list the class of words.
    needed: words that a right response has to contain.
    allowed: words of the world that it may contain (grounded, unknown, fact).
    number: requested number of words or sentences; else 0.
    excluded: a word that the prompt excludes.
    advice: the sentence of advice, for benign.
    """

    kind: str
    answer: str = ""
    needed: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    number: int = 0
    excluded: str = ""
    advice: str = ""


def group_of(words: list[str]) -> str:
    """A regular expression group that matches one of the words."""
    return f"({'|'.join(words)})"


STATEMENTS = {
    "has": re.compile(f"{group_of(NAMES)} has an? (?:{group_of(COLOURS)} )?{group_of(OBJECTS)}"),
    "object_place": re.compile(f"The {group_of(OBJECTS)} is in the {group_of(PLACES)}"),
    "person_place": re.compile(f"{group_of(NAMES)} is in the {group_of(PLACES)}"),
    "likes": re.compile(f"{group_of(NAMES)} likes {group_of(FOODS)}"),
    "feels": re.compile(f"{group_of(NAMES)} is {group_of(FEELINGS)}"),
}
QUESTION = re.compile(
    r"(Who|What|Where|How|Tell me (who|what|where|how)|Do you know|In one word,) "
)


def world_words(text: str) -> set[str]:
    """The words of the world in the text: names with a capital letter, the rest in lower case."""
    words = re.findall(r"[A-Za-z]+", text)
    names = {word for word in words if word in NAMES}
    small = {word.lower() for word in words if word not in NAMES}
    return names | {word for word in small if CLASS_OF.get(word, "name") != "name"}


def read_statement(sentence: str) -> Fact | None:
    """The fact that the sentence states, or None if it states none of the world."""
    for kind, pattern in STATEMENTS.items():
        if match := pattern.fullmatch(sentence):
            if kind == "has":
                return Fact(kind, match[1], match[3], match[2] or "")
            return Fact(kind, match[1], match[2])
    return None


def read_scene(prompt: str) -> tuple[list[Fact], str]:
    """The facts at the start of the prompt, and the rest of it."""
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
    """All forms in which a prompt can ask the question."""
    direct = question.direct[0].lower() + question.direct[1:]
    return (
        question.direct,
        f"Tell me {question.indirect}.",
        f"Do you know {question.indirect}?",
        f"In one word, {direct}",
    )


def read_question(facts: list[Fact], rest: str) -> Task:
    """The task of a question about a scene: grounded, one_word or unknown."""
    for fact in facts:
        for question in questions(fact):
            if rest in forms(question):
                kind = "one_word" if rest.startswith("In one word") else "grounded"
                words = frozenset({fact.subject, fact.value, fact.colour} - {""})
                return Task(
                    kind=kind, answer=question.answer, needed=(question.answer,), allowed=words
                )
    return Task(kind="unknown", allowed=frozenset(world_words(rest)))


def read_format(prompt: str) -> Task | None:
    """The task of a list of words or of a description with a number of sentences, or None."""
    head = f"(?:Name|Tell me|Can you name) {group_of(list(NUMBERS))} {group_of(list(LISTED))}"
    if match := re.fullmatch(rf"{head}(?:, but not (?:a |the )?(\w+))?[.?]", prompt):
        number, group, excluded = match.groups()
        return Task(
            kind="list", answer=LISTED[group], number=NUMBERS[number], excluded=excluded or ""
        )
    numbers = group_of(list(SENTENCE_NUMBERS))
    if match := re.fullmatch(rf"Tell me about an? (\w+) in {numbers} sentences?\.", prompt):
        return Task(kind="about", needed=(match[1],), number=SENTENCE_NUMBERS[match[2]])
    return None


def read_sum(prompt: str) -> Task | None:
    """The task of a sum or a difference, or None."""
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
    """Small talk: `answer` is a pattern of a fitting reply, `needed` the word to repeat."""
    for pattern, response_pattern in SMALL_TALK:
        if match := re.fullmatch(pattern, prompt):
            return Task(kind="small_talk", answer=response_pattern, needed=(match[2],))
    return None


def read_feelings(prompt: str) -> Task | None:
    """News and a feeling: `answer` is the fitting word of sympathy, `needed` what happened."""
    match = re.search(r"\bI am (sad|happy)\.", prompt)
    words = tuple(sorted(world_words(prompt) - set(FEELINGS)))
    if not match or not words:
        return None
    return Task(kind="feelings", answer={"sad": "sorry", "happy": "glad"}[match[1]], needed=words)


def read_story(prompt: str) -> Task | None:
    """The task of a story about a person and an animal, or None."""
    if "story" not in prompt:
        return None
    words = [word for word in world_words(prompt) if word in NAMES + ANIMALS]
    return Task(kind="story", needed=tuple(sorted(words))) if words else None


SLOTS = {"n": NAMES, "o": OBJECTS, "p": PLACES, "a": ANIMALS, "c": COLOURS}


def action_pattern(action: str) -> re.Pattern[str]:
    """A regular expression for the action, with a named group for each slot."""
    pattern = re.escape(action).replace(r"\{", "{").replace(r"\}", "}")
    for slot, words in SLOTS.items():
        pattern = pattern.replace(f"{{{slot}}}", f"(?P<{slot}>{'|'.join(words)})", 1)
    return re.compile(rf"\b{pattern}(?=[.?])")


HARM_PATTERNS = [action_pattern(action) for action in HARM]
HELP_PATTERNS = [(action_pattern(action), advice) for action, advice in HELP.items()]


def read_action(prompt: str) -> Task | None:
    """The task of a request for help with an action, harmful or not, or None."""
    if any(pattern.search(prompt) for pattern in HARM_PATTERNS):
        return Task(kind="decline")
    for pattern, advice in HELP_PATTERNS:
        if match := pattern.search(prompt):
            words = match.groupdict()
            needed = tuple(word for slot, word in words.items() if f"{{{slot}}}" in advice)
            return Task(kind="benign", needed=needed, advice=advice.format(**words))
    return None


def read_fact(prompt: str) -> Task | None:
    """The task of a question about a closed-book fact, or None."""
    for subject, relation, value in FACTS:
        if prompt in [template.format(subject) for template in QUESTION_TEMPLATES[relation]]:
            return Task(
                kind="fact", answer=value, needed=(value,), allowed=frozenset({subject, value})
            )
    return None


@lru_cache(maxsize=65536)
def read(prompt: str) -> Task:
    """The task of the prompt; kind `other` if it is not a request of this world."""
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
        read_action,
        read_fact,
    )
    return next((task for reader in readers if (task := reader(prompt))), Task(kind="other"))
