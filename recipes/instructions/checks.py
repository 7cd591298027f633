"""Whether a text meets a constraint: one function per kind of constraint.

Each takes the text first and then the constraint's values. The kinds are those of IFEval (Zhou et
al. 2023, arXiv 2311.07911) except for the language of the response; the code is our own, so that
training never sees the benchmark's checks.
"""

import json
import re

WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*]*\s+")
BULLET = re.compile(r"^\s*[*-]\s+\S", re.MULTILINE)
HIGHLIGHT = re.compile(r"(?<!\*)\*{1,2}[^\s*][^*\n]*\*{1,2}(?!\*)")
PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")
TITLE = re.compile(r"<<[^<>\n]+>>")
FENCE = re.compile(r"^```\w*\n|\n?```$")


def words_at_least(text: str, count: int) -> bool:
    """At least `count` words."""
    return len(WORD.findall(text)) >= count


def words_below(text: str, count: int) -> bool:
    """Fewer than `count` words."""
    return len(WORD.findall(text)) < count


def sentences_at_least(text: str, count: int) -> bool:
    """At least `count` sentences."""
    return sentences(text) >= count


def sentences_below(text: str, count: int) -> bool:
    """Fewer than `count` sentences."""
    return sentences(text) < count


def paragraphs(text: str, count: int) -> bool:
    """Exactly `count` paragraphs, separated by lines of `***`."""
    parts = re.split(r"\s*^\*\*\*\s*$\s*", text.strip(), flags=re.MULTILINE)
    return len(parts) == count and all(part.strip() for part in parts)


def paragraph_start(text: str, count: int, number: int, word: str) -> bool:
    """`count` paragraphs separated by empty lines, of which `number` starts with `word`."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", text.strip())]
    if len(parts) != count:
        return False
    return WORD.findall(parts[number - 1].lower())[:1] == [word.lower()]


def includes(text: str, *words: str) -> bool:
    """Every word occurs, in any case."""
    return all(occurrences(text, word) for word in words)


def excludes(text: str, *words: str) -> bool:
    """No word occurs, in any case."""
    return not any(occurrences(text, word) for word in words)


def word_at_least(text: str, word: str, count: int) -> bool:
    """The word occurs at least `count` times."""
    return occurrences(text, word) >= count


def letter_at_least(text: str, letter: str, count: int) -> bool:
    """The letter occurs at least `count` times, in any case."""
    return text.lower().count(letter) >= count


def letter_below(text: str, letter: str, count: int) -> bool:
    """The letter occurs fewer than `count` times, in any case."""
    return text.lower().count(letter) < count


def no_commas(text: str) -> bool:
    """No comma at all."""
    return "," not in text


def lowercase(text: str) -> bool:
    """Letters, and no capital one."""
    return text.islower()


def uppercase(text: str) -> bool:
    """Letters, and capital ones only."""
    return text.isupper()


def capital_words_at_least(text: str, count: int) -> bool:
    """At least `count` words in capital letters only."""
    return capital_words(text) >= count


def capital_words_below(text: str, count: int) -> bool:
    """Fewer than `count` words in capital letters only."""
    return capital_words(text) < count


def bullets(text: str, count: int) -> bool:
    """Exactly `count` lines that start with `* ` or `- `."""
    return len(BULLET.findall(text)) == count


def highlights(text: str, count: int) -> bool:
    """At least `count` spans in `*asterisks*`."""
    return len(HIGHLIGHT.findall(text)) >= count


def placeholders(text: str, count: int) -> bool:
    """At least `count` placeholders in `[square brackets]`."""
    return len(PLACEHOLDER.findall(text)) >= count


def title(text: str) -> bool:
    """A title in `<<double angular brackets>>`."""
    return bool(TITLE.search(text))


def sections(text: str, word: str, count: int) -> bool:
    """At least `count` headings such as `Part 1`."""
    return len(re.findall(rf"^\W*{re.escape(word)}\s+\d+", text, re.MULTILINE)) >= count


def json_only(text: str) -> bool:
    """The whole text is a JSON object or list, possibly in a code fence."""
    try:
        return isinstance(json.loads(FENCE.sub("", text.strip())), dict | list)
    except ValueError:
        return False


def quoted(text: str) -> bool:
    """The whole text is in double quotation marks."""
    text = text.strip()
    return len(text) > 2 and text.startswith('"') and text.endswith('"')


def ends_with(text: str, phrase: str) -> bool:
    """The phrase is the end of the text, in any case and possibly before a quotation mark."""
    return text.strip().strip('"').lower().endswith(phrase.lower())


def postscript(text: str, marker: str) -> bool:
    """A line starts with the marker, such as `P.S.`, and has words after it."""
    return bool(re.search(rf"^\W*{re.escape(marker)}\s*\S", text, re.MULTILINE | re.IGNORECASE))


def one_of(text: str, *options: str) -> bool:
    """The text contains one of the options."""
    return any(option.lower() in text.lower() for option in options)


def two_responses(text: str) -> bool:
    """Two different texts, separated by `******`."""
    parts = [part.strip() for part in text.split("******")]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def repeats(text: str, request: str) -> bool:
    """The text starts with the request, and more follows."""
    start, text = request.strip().lower(), text.strip().lower()
    return text.startswith(start) and len(text) > len(start)


def sentences(text: str) -> int:
    """The number of sentences."""
    return sum(bool(WORD.search(part)) for part in SENTENCE_END.split(text))


def occurrences(text: str, word: str) -> int:
    """How often the word occurs, in any case."""
    return len(re.findall(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))


def capital_words(text: str) -> int:
    """The number of words in capital letters only."""
    return sum(word.isupper() for word in WORD.findall(text))
