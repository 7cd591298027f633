"""Criteria of the label form: what is asked about a response, about the item, or about its ends.

One criterion is one column of the exported labels. Its answer is a value of one of these types:

    Rating     int                                   one number on a scale
    Choice     str, or list[str] with `several`      of the options
    Text       str
    Spans      list of {"start", "end", "text", "option"}, passages of the response
    Checklist  {statement: bool}                     whether each statement holds
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from rlhf.errors import ConfigError, ErrorCode

About = Literal["response", "item", "best", "worst"]
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
OVERALL = "overall"  # the form's own rating, an axis of its own
MAX_DIGIT = 9  # a rating and an option have a digit key each
MAX_STATEMENTS = 30


@dataclass(frozen=True, kw_only=True)
class Rating:
    """A whole number from `low` to `high`."""

    low: int = 1
    high: int = 5
    words: Sequence[str] = ()  # what the values mean, lowest first; or the two ends


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the options, or with `several` any number of them."""

    options: Sequence[str] = ()
    several: bool = False


@dataclass(frozen=True, kw_only=True)
class Text:
    """A written answer."""


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Passages of a response, each marked as one of the options."""

    options: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """A rubric of statements; each holds or does not."""

    statements: Sequence[str] = ()


AnswerType = Rating | Choice | Text | Spans | Checklist
ANSWER_TYPES: Mapping[str, type[AnswerType]] = {
    "rating": Rating,
    "choice": Choice,
    "text": Text,
    "spans": Spans,
    "checklist": Checklist,
}


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One question of the form.

    `about` is what the question is asked of: each response, the item as a whole, or the response
    that was ranked best or worst. Without `required` it may stay unanswered.

    Raises:
        ConfigError: the name of the criterion, and what is wrong with it.
    """

    name: str
    answer: AnswerType
    about: About = "response"
    question: str = ""
    required: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"form: {self.name!r} is not a name of a criterion; use up to 40 letters a to z, "
                "digits and _, a letter first, since it names a column of the exported labels.",
                code="bad-value",
            )
        if self.about not in get_args(About):
            raise self.error(f"about is {self.about!r}; write {', '.join(get_args(About))}")
        if not isinstance(self.question, str) or not isinstance(self.required, bool):
            raise self.error("question has to be a text, and required true or false")
        if isinstance(self.answer, Spans) and self.about != "response":
            raise self.error("marks passages of a response; write `about: response`")
        if reason := _problem(self.answer):
            raise self.error(reason)

    def error(self, reason: str, code: ErrorCode = "bad-value") -> ConfigError:
        """An error about this criterion of the form."""
        return ConfigError(f"form: criterion {self.name}: {reason}.", code=code)

    @property
    def kind(self) -> str:
        """The kind of answer, as a form names it."""
        [kind] = [name for name, of_kind in ANSWER_TYPES.items() if type(self.answer) is of_kind]
        return kind


def parse_criteria(entries: object) -> tuple[Criterion, ...]:
    """The criteria of a form's list `criteria`.

    Raises:
        ConfigError: not a list of mappings, an unknown key, a name given twice, a bad value.
    """
    if not isinstance(entries, list):
        raise ConfigError(
            f"form: criteria is {entries!r}; write a list of criteria, each with name and kind.",
            code="bad-value",
        )
    criteria = tuple(parse_criterion(entry) for entry in entries)
    names = [criterion.name for criterion in criteria]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"form: two criteria have the name {name}; name each once.", code="repeated-key"
            )
    return criteria


def parse_criterion(entry: Any) -> Criterion:
    """One criterion of a form's list."""
    if not isinstance(entry, dict) or not {"name", "kind"} <= set(entry):
        raise ConfigError(
            f"form: {str(entry)[:60]!r} is not a criterion; write its name and its kind, such as "
            "`{name: helpful, kind: rating}`.",
            code="bad-value",
        )
    answer_type = ANSWER_TYPES.get(str(entry["kind"]))
    if answer_type is None:
        raise ConfigError(
            f"form: criterion {entry['name']}: kind is {entry['kind']!r}; write one of "
            f"{', '.join(ANSWER_TYPES)}.",
            code="bad-value",
        )
    own = {field.name for field in fields(answer_type)}
    shared = {"about", "question", "required"}
    if unknown := set(entry) - own - shared - {"name", "kind"}:
        raise ConfigError(
            f"form: criterion {entry['name']}: a {entry['kind']} has no key "
            f"{sorted(map(str, unknown))[0]}; it has {', '.join(sorted(own | shared))}.",
            code="unknown-key",
        )
    answer = answer_type(**{key: entry[key] for key in own & set(entry)})
    given = {key: entry[key] for key in shared & set(entry)}
    criterion = Criterion(name=entry["name"], answer=answer, **given)
    if criterion.name == OVERALL:
        raise criterion.error(f"is the form's own rating; use another name than {OVERALL}")
    return criterion


def as_json(criterion: Criterion) -> Mapping[str, object]:
    """The criterion as the page reads it."""
    shared = {key: getattr(criterion, key) for key in ("name", "about", "question", "required")}
    return {**shared, "kind": criterion.kind, **asdict(criterion.answer)}


def _problem(answer: AnswerType) -> str:
    """What is wrong with the keys of an answer type; "" if nothing is."""
    match answer:
        case Rating():
            return _rating_problem(answer)
        case Choice(options=options, several=several):
            return _flag_problem("several", several) or _texts_problem(
                "options", options, 2, MAX_DIGIT
            )
        case Spans(options=options):
            return _texts_problem("options", options, 1, MAX_DIGIT)
        case Checklist(statements=statements):
            return _texts_problem("statements", statements, 1, MAX_STATEMENTS)
        case Text():
            return ""


def _flag_problem(key: str, value: object) -> str:
    return "" if isinstance(value, bool) else f"{key} is {value!r}; write true or false"


def _rating_problem(rating: Rating) -> str:
    ends = (rating.low, rating.high)
    if not all(type(end) is int for end in ends) or not 0 <= rating.low < rating.high <= MAX_DIGIT:
        return f"low is {rating.low!r} and high is {rating.high!r}; use 0 <= low < high <= 9"
    size = rating.high - rating.low + 1
    if not rating.words:
        return ""
    if len(rating.words) not in (2, size):
        return f"words has {len(rating.words)} texts; give one for each of the {size} values, or 2"
    return _texts_problem("words", rating.words, 2, size)


def _texts_problem(key: str, texts: object, least: int, most: int) -> str:
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
        return f"{key} is {texts!r}; write a list of texts"
    if len(set(texts)) < len(texts):
        return f"{key} names a text twice"
    if not least <= len(texts) <= most:
        return f"{key} has {len(texts)} texts; use {least} to {most}"
    return ""
