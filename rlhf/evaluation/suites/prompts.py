"""The prompts of a suite: conversations of one user turn or several, with their columns."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.errors import DataError, reject_row
from rlhf.evaluation.suites.suite import Suite
from rlhf.manifest import hash_text
from rlhf.types import Message, Prompt


@dataclass(frozen=True, kw_only=True)
class SuitePrompt:
    """What the user says, turn by turn, and the other columns of the row.

    key: a hash of the row, the same wherever it is in the file.
    prompt: what the first response is to.
    later: the user's further turns, each after a response of the model.
    """

    key: str
    prompt: Prompt
    later: Sequence[str] = ()
    columns: Mapping[str, object] = field(default_factory=dict)

    def at_turn(self, responses: Sequence[str]) -> Prompt:
        """The conversation to which the next response belongs, after these responses."""
        if not self.later:
            return self.prompt
        first = self.prompt
        messages = [{"role": "user", "content": first}] if isinstance(first, str) else [*first]
        for response, turn in zip(responses, self.later, strict=False):
            messages += [{"role": "assistant", "content": response}]
            messages += [{"role": "user", "content": turn}]
        return cast(Prompt, messages)


@dataclass(frozen=True, kw_only=True)
class LoadedSuite:
    """A suite with its prompts."""

    suite: Suite
    prompts: Sequence[SuitePrompt]


def read_prompts(suite: Suite, bad_rows: BadRows) -> list[SuitePrompt]:
    """The prompts of a suite, in the order of their file.

    A row has `prompt`, a text or messages that end with the user's, or `turns`, a list of the
    user's texts. The system message of the suite goes before them.

    Raises:
        DataError: the file cannot be read, or has no row.
    """
    prompts: list[SuitePrompt] = []
    problems: list[Problem] = []
    seen: Counter[str] = Counter()
    for where, row in read_rows(suite.prompts):
        if isinstance(row, Unreadable):
            problems.append(Problem(where, row.reason, row.raw))
            continue
        try:
            prompts.append(_prompt(suite, row, seen))
        except DataError as error:
            problems.append(Problem(where, str(error), row))
    bad_rows.take(str(suite.prompts), problems)
    if not prompts and not problems:
        raise DataError(f"{suite.prompts} has no row.", code="no-rows")
    return prompts


def _prompt(suite: Suite, row: Row, seen: Counter[str]) -> SuitePrompt:
    turns = row.get("turns", [row.get("prompt")])
    if not isinstance(turns, list) or not turns or ("turns" in row and "prompt" in row):
        reject_row("needs either a prompt or a list of turns")
    first, later = turns[0], turns[1:]
    if not all(isinstance(turn, str) and turn for turn in later):
        reject_row("has a later turn that is not a text")
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    seen[text] += 1
    return SuitePrompt(
        key=hash_text(f"{text} {seen[text]}" if seen[text] > 1 else text)[:16],
        prompt=_first(first, suite.system),
        later=later,
        columns={name: value for name, value in row.items() if name not in ("prompt", "turns")},
    )


def _first(value: object, system: str) -> Prompt:
    """The prompt, with the system message before it."""
    if isinstance(value, str) and value:
        if not system:
            return value
        messages: list[Message] = [{"role": "user", "content": value}]
    elif isinstance(value, list) and value and all(map(_is_message, value)):
        messages = cast(list[Message], value)
        if messages[-1]["role"] != "user":
            reject_row("has a conversation that does not end with the user's turn")
    else:
        reject_row("has no prompt (a text or a list of messages)")
    return [{"role": "system", "content": system}, *messages] if system else messages


def _is_message(value: object) -> bool:
    texts = [value.get("role"), value.get("content")] if isinstance(value, dict) else [None]
    return all(isinstance(text, str) for text in texts)
