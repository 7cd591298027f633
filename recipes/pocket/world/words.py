"""The words of the world. Every class is small, so that a word is one or two tokens."""

import zlib

NAMES = (
    "Tom Ann Ben Mia Sam Eva Max Lea Tim Ida Leo Zoe Jon Amy Dan Liv Bob Joy Ned Kim "
    "Pat Sue Rob Meg Jim Ada Ron Pia Ted Lily"
).split()
OBJECTS = (
    "key ball book lamp cup hat coat bag box bike boat drum clock chair table bell "
    "map kite ring shoe spoon plate doll rope brush letter basket mirror pen bottle"
).split()
PLACES = (
    "garden kitchen park school shop barn forest river hall tower library market "
    "station cellar attic yard"
).split()
COLOURS = "red blue green black white brown pink yellow grey gold".split()
ANIMALS = "dog cat fox horse cow hen duck goat mouse bear wolf frog rabbit pig lion sheep".split()
FOODS = "bread rice soup cake cheese fish honey milk corn plums pears beans".split()
FEELINGS = "happy sad tired angry calm proud afraid bored".split()
NUMBERS = {"two": 2, "three": 3, "four": 4}

CLASSES: dict[str, list[str]] = {
    "name": NAMES,
    "object": OBJECTS,
    "place": PLACES,
    "colour": COLOURS,
    "animal": ANIMALS,
    "food": FOODS,
    "feeling": FEELINGS,
}
CLASS_OF = {word.lower(): kind for kind, words in CLASSES.items() for word in words}


def reserved(*words: object) -> bool:
    """Whether this combination is reserved for held-out prompts; about one in six is.

    crc32, not hash(): Python salts the hashes of strings differently in every process.
    """
    return zlib.crc32(" ".join(map(str, words)).encode()) % 6 == 0


def article(word: str) -> str:
    """The word with its article in a list: "a dog", "the garden", "bread"."""
    kind = CLASS_OF[word.lower()]
    if kind in ("object", "animal"):
        return f"a {word}"
    return f"the {word}" if kind == "place" else word


def listing(parts: list[str]) -> str:
    """The parts as an English list, "A, b and c", with a capital first letter."""
    text = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
    return capital(text)


def capital(text: str) -> str:
    """The text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]
