"""Requests without a scene: lists and lengths, sums, small talk, feelings, stories."""

import re
from random import Random

from .item import Item, pick
from .words import (
    ANIMALS,
    CLASSES,
    COLOURS,
    FEELINGS,
    FOODS,
    NAMES,
    NUMBERS,
    OBJECTS,
    PLACES,
    article,
    listing,
    reserved,
)

LISTED = {
    "animals": "animal",
    "things": "object",
    "foods": "food",
    "colours": "colour",
    "places": "place",
    "names": "name",
}


def make_item(
    category: str,
    words: tuple[object, ...],
    *,
    prompt: str,
    right: str,
    wrong: str,
    fault: str,
    short: str = "",
) -> Item:
    """An item whose combination is `words`.

    Args:
        category: category of the prompt.
        words: words that decide whether the item is held out.
        prompt: text of the request.
        right: a right response.
        wrong: a wrong response.
        fault: a reader's remark on the wrong response.
        short: the shortest right response; default `right`.
    """
    return Item(
        category=category,
        prompt=prompt,
        right=right,
        wrong=wrong,
        short=short or right,
        fault=fault,
        combination="+".join(map(str, words)),
        held_out=reserved(*words),
    )


def name_item(rng: Random) -> Item:
    """ "Name three animals.", sometimes with one excluded; number and class have to be right."""
    number = rng.choice(list(NUMBERS))
    group = rng.choice(list(LISTED))
    words = rng.sample(CLASSES[LISTED[group]], 6)
    left_out, parts = words[5], [article(word) for word in words]
    size = NUMBERS[number]
    template = rng.choice(("Name {} {}.", "Tell me {} {}.", "Can you name {} {}?"))
    prompt = template.format(number, group)
    if rng.random() < 0.7:
        prompt = f"{prompt[:-1]}, but not {article(left_out)}{prompt[-1]}"
    else:
        left_out = ""
    others = [other for other in LISTED.values() if other != LISTED[group]]
    other_class = article(rng.choice(CLASSES[rng.choice(others)]))
    listed = parts[: size - 1]
    faults = [
        listed,
        parts[: size + 1],
        [*listed, other_class],
        [*listed, rng.choice(listed or [other_class])],
    ]
    if left_out:
        faults += [rng.sample([*listed, article(left_out)], size)] * 2
    wrong = rng.choice(faults)
    return make_item(
        "format",
        (number, group, left_out),
        prompt=prompt,
        right=f"{listing(parts[:size])}.",
        wrong=f"{listing(wrong)}.",
        fault="not as asked",
    )


def description_sentences(rng: Random, subject: str) -> list[str]:
    """Three sentences about a thing or an animal."""
    place, colour, name = rng.choice(PLACES), rng.choice(COLOURS), rng.choice(NAMES)
    if subject in ANIMALS:
        lines = [
            f"A {subject} can run in the {place}.",
            f"{name} saw a {colour} {subject}.",
            f"A {subject} is a fine animal.",
            "It sleeps at night.",
            "It likes to play.",
        ]
    else:
        lines = [
            f"A {subject} is a useful thing.",
            f"{name} keeps a {subject} in the {place}.",
            f"A {subject} can be {colour}.",
            "You can buy it in a shop.",
            "It is not very big.",
        ]
    return [*rng.sample(lines[:3], 1), *rng.sample(lines[3:], 2)]


def two_sentences_item(rng: Random) -> Item:
    """ "Tell me about a dog in two sentences."; number and subject have to be right."""
    subject = rng.choice(ANIMALS + OBJECTS)
    number = rng.choice(("one", "two", "three"))
    size = {"one": 1, "two": 2, "three": 3}[number]
    lines = description_sentences(rng, subject)
    other = description_sentences(rng, pick(rng, ANIMALS + OBJECTS, but=(subject,)))
    sizes = [n for n in (1, 2, 3) if n != size]
    wrong = other[:size] if rng.random() < 0.3 else lines[: rng.choice(sizes)]
    noun = "sentence" if size == 1 else "sentences"
    return make_item(
        "format",
        (number, subject),
        prompt=f"Tell me about a {subject} in {number} {noun}.",
        right=" ".join(lines[:size]),
        wrong=" ".join(wrong),
        fault="not as asked",
    )


def arithmetic_item(rng: Random) -> Item:
    """A sum or a difference of numbers up to twelve."""
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    sign = rng.choice(("plus", "minus"))
    a, b = (max(a, b), min(a, b)) if sign == "minus" else (a, b)
    answer = a + b if sign == "plus" else a - b
    wrong = max(0, answer + rng.choice((-3, -2, -1, 1, 2, 3)))
    wrong += wrong == answer
    expression = f"{a} {sign} {b}"
    wrong_operand = f"{a} {sign} {b + 1} is {answer + (1 if sign == 'plus' else -1)}."
    template = rng.choice(("What is {}?", "How much is {}?", "Tell me what {} is."))
    return make_item(
        "arithmetic",
        (a, sign, b),
        prompt=template.format(expression),
        right=f"{expression} is {answer}.",
        wrong=wrong_operand if b < a and rng.random() < 0.2 else f"{expression} is {wrong}.",
        short=f"{answer}.",
        fault="wrong",
    )


def small_talk_item(rng: Random) -> Item:
    """A greeting, thanks, a goodbye or a preference; the right response repeats its word."""
    name, food, place = rng.choice(NAMES), rng.choice(FOODS), rng.choice(PLACES)
    colour, thing = rng.choice(COLOURS), rng.choice(OBJECTS)
    other = pick(rng, NAMES, but=(name,))
    hello = rng.choice(("Hello", "Good morning", "Hi", "Good evening"))
    rows = [
        (
            f"{hello}, I am {name}.",
            name,
            f"{hello}, {name}. How are you today?",
            f"{hello}, {other}. How are you today?",
        ),
        (
            f"{hello}, this is {name}. How are you?",
            name,
            f"{hello}, {name}. I am well today.",
            f"I like {food}.",
        ),
        (
            f"Thank you for the {thing}.",
            thing,
            f"You are welcome. Enjoy the {thing}.",
            f"Goodbye, {other}.",
        ),
        (
            f"Goodbye, I am going to the {place} now.",
            place,
            f"Goodbye. Enjoy the {place}.",
            f"{hello}, {other}. How are you today?",
        ),
        (
            f"I like {food}.",
            food,
            f"Many people like {food}. What else do you like?",
            f"The {thing} is {colour}.",
        ),
        (
            f"My favourite colour is {colour}.",
            colour,
            f"A {colour} {thing} would look good.",
            f"You can buy {food} in a shop.",
        ),
    ]
    kind = rng.randrange(len(rows))
    prompt, word, right, wrong = rows[kind]
    return make_item(
        "small_talk",
        (kind, hello if kind < 2 else "", word),
        prompt=prompt,
        right=right,
        wrong=wrong,
        fault="off the point",
    )


def feelings_item(rng: Random) -> Item:
    """Bad or good news; the right response is sorry or glad and mentions what happened."""
    name, thing, animal = rng.choice(NAMES), rng.choice(OBJECTS), rng.choice(ANIMALS)
    rows = [
        ("sad", thing, f"I lost my {thing}.", f"you lost your {thing}"),
        ("sad", thing, f"My {thing} is broken.", f"your {thing} is broken"),
        ("sad", animal, f"My {animal} is ill.", f"your {animal} is ill"),
        ("sad", name, f"{name} went away.", f"{name} went away"),
        ("happy", thing, f"I found my {thing}.", f"you found your {thing}"),
        ("happy", animal, f"I have a new {animal}.", f"you have a new {animal}"),
        ("happy", animal, f"My {animal} is well again.", f"your {animal} is well again"),
        ("happy", name, f"{name} came to see me.", f"{name} came to see you"),
    ]
    kind = rng.randrange(len(rows))
    feeling, word, news, echo = rows[kind]
    prompt = rng.choice((f"{news} I am {feeling}.", f"I am {feeling}. {news}"))
    right, swapped = f"I am sorry that {echo}.", f"I am glad that {echo}."
    if feeling == "happy":
        right, swapped = swapped, right
    wrong = rng.choice((f"You can buy {rng.choice(FOODS)} in a shop.", "The sun is up.", swapped))
    return make_item(
        "feelings", (kind, word), prompt=prompt, right=right, wrong=wrong, fault="off the point"
    )


def story_sentences(rng: Random, subject: str, name: str) -> list[str]:
    """A story of three sentences about the animal and the person."""
    place, thing, colour = rng.choice(PLACES), rng.choice(OBJECTS), rng.choice(COLOURS)
    begin = rng.choice(
        (
            f"{name} met a {subject} in the {place}.",
            f"A {subject} lived with {name} in the {place}.",
            f"One day {name} saw a {subject} in the {place}.",
        )
    )
    middle = rng.choice(
        (
            f"They found a {colour} {thing}.",
            f"The {subject} had a {colour} {thing}.",
            f"The {subject} lost a {thing} and {name} found it.",
            f"{name} gave the {subject} some {rng.choice(FOODS)}.",
        )
    )
    end = rng.choice(
        (
            f"The {subject} was {rng.choice(FEELINGS)}.",
            "They were friends from that day.",
            f"Then they went home to the {rng.choice(PLACES)}.",
            f"{name} was very happy.",
        )
    )
    return [begin, middle, end]


def story_item(rng: Random) -> Item:
    """A request for a story about an animal and a person; the wrong one has other heroes."""
    subject, name = rng.choice(ANIMALS), rng.choice(NAMES)
    template = rng.choice(
        (
            "Tell me a story about {} and a {}.",
            "Tell me a short story about {} and a {}.",
            "Please make up a story with {} and a {}.",
        )
    )
    other, stranger = pick(rng, ANIMALS, but=(subject,)), pick(rng, NAMES, but=(name,))
    heroes = rng.choice(((other, name), (subject, stranger), (other, stranger)))
    wrong = story_sentences(rng, *heroes)
    changed_heroes = [
        *story_sentences(rng, subject, name)[: (cut := rng.randint(1, 2))],
        *wrong[cut:],
    ]
    if rng.random() < 0.4 and {other, stranger} & set(re.findall(r"\w+", " ".join(changed_heroes))):
        wrong = changed_heroes  # starts with the right heroes and continues with others
    return make_item(
        "story",
        (name, subject),
        prompt=template.format(name, subject),
        right=" ".join(story_sentences(rng, subject, name)),
        wrong=" ".join(wrong),
        fault="off the point",
    )
