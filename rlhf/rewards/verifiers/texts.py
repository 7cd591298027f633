"""Verifiers of texts by the standard library: answers, patterns, lengths, repetition."""

import re

from rlhf.rewards.verifiers.source import VerifierSource
from rlhf.rewards.verifiers.verifier import Columns, Verifier

WORD = re.compile(r"\w+")


def exact_match(source: VerifierSource) -> Verifier:
    """1 where the response is the answer, or one of the answers, of its row; else 0.

    Runs of white space count as one space. Options: `column` (answer), `ignore_case` (false),
    `after` (a text: only what follows its last occurrence is compared; 0 without it).
    """
    column, after = source.options.get("column", "answer"), source.options.get("after", "")
    folds = source.flag("ignore_case", default=False)

    def plain(text: str) -> str:
        text = " ".join(text.split())
        return text.casefold() if folds else text

    def check(text: str, row: Columns) -> float:
        if after and after not in text:
            return 0.0
        rest = text.rpartition(after)[2] if after else text
        answers = row[column] if isinstance(row[column], list) else [row[column]]
        assert isinstance(answers, list)
        return float(plain(rest) in [plain(str(answer)) for answer in answers])

    return Verifier(check=check, columns=(column,))


def regex(source: VerifierSource) -> Verifier:
    """1 where the pattern matches somewhere in the response, else 0.

    Options: `pattern`, else the column `column` (pattern) has one for each row; `full` (false):
    the whole response has to match. A dot matches line breaks too. Python's syntax.
    """
    full, column = source.flag("full", default=False), source.options.get("column", "pattern")
    given = source.options.get("pattern")
    fixed = None if given is None else _compiled(source, given)

    def matches(pattern: re.Pattern[str], text: str) -> float:
        return float(bool(pattern.fullmatch(text) if full else pattern.search(text)))

    if fixed is not None:
        return Verifier(check=lambda text, row: matches(fixed, text))
    return Verifier(
        check=lambda text, row: matches(re.compile(str(row[column]), re.DOTALL), text),
        columns=(column,),
        prepare=lambda row: _compiled(source, str(row[column])),
    )


def _compiled(source: VerifierSource, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise source.error(f"{pattern!r} is no regular expression: {error}") from error


def length(source: VerifierSource) -> Verifier:
    """0 for a response of allowed length, down to -1 for one that is too short or too long.

    Above `max` - `buffer` the value falls linearly to -1 at `max` and stays there: DAPO's soft
    overlong punishment (arXiv 2503.14476, eq. 13). Below `min` it is n / min - 1.
    Options: `max`, `min`, `buffer` (0: a step at max), `unit` (words, or characters).
    """
    unit = source.options.get("unit", "words")
    most, least = source.number("max", float("inf")), source.number("min", 0.0)
    buffer = source.number("buffer", 0.0)
    if unit not in ("words", "characters"):
        raise source.error(f"unit={unit}; use words or characters")
    if not {"max", "min"} & source.options.keys():
        raise source.error("it has no limit; give max or min")
    if buffer and buffer > most - least:
        raise source.error(f"buffer={buffer:g} is more than max - min; use a smaller one")
    if most < least:
        raise source.error(f"max={most:g} is below min={least:g}")

    def check(text: str, row: Columns) -> float:
        size = len(WORD.findall(text)) if unit == "words" else len(text)
        if size < least:
            return size / least - 1.0
        if size <= most - buffer:
            return 0.0
        return max((most - buffer - size) / buffer, -1.0) if buffer else -1.0

    return Verifier(check=check)


def repetition(source: VerifierSource) -> Verifier:
    """Minus the share of repeated n-grams of words: 0 where all differ, near -1 for a loop.

    distinct / all - 1; 0 for fewer than n words. Options: `n` (3 words).
    """
    size = int(source.number("n", 3))
    if size < 1:
        raise source.error(f"n={source.options['n']}; use 1 or more")

    def check(text: str, row: Columns) -> float:
        words = WORD.findall(text.casefold())
        grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
        return len(set(grams)) / len(grams) - 1.0 if grams else 0.0

    return Verifier(check=check)
