"""A row of rankings or pairs -> a typed one, or a `DataError` with the reason."""

import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from rlhf.data.files.read import Row
from rlhf.data.rows.fields import (
    after_prompt,
    check_columns,
    check_context,
    list_of,
    prompt_of,
    text_of,
    value_of,
    with_system,
)
from rlhf.data.rows.messages import messages_of, refuse, tools_of
from rlhf.data.tokenization.template import shared_length
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.types import Message, Prompt, Ranking

ScoreColumns = Literal["reject", "strength", "ignore"]
_HH_TURN = "\n\nHuman:"


def parse_ranking(row: Row, scores: ScoreColumns = "reject") -> Ranking:
    """`{"prompt", "responses", "ranks"}` or `{"prompt", "chosen", "rejected"}`, a ranking of two.

    A lower rank is better, equal ranks tie, and equal texts have to. Where chosen and rejected
    both begin with the prompt, as texts or as conversations, that beginning is the prompt.

    scores: what `score_chosen` and `score_rejected` are for: their difference is the strength, or
    they are ignored, or a row that has them is refused.
    """
    check_context(row)
    if "chosen" in row or "rejected" in row:
        check_columns(row, ("chosen", "rejected", "messages"))
        return _pair(row, scores)
    check_columns(row, ("responses",))
    wanted = "prompt, responses and ranks, or prompt, chosen and rejected"
    prompt = prompt_of(row, wanted)
    responses = list_of(value_of(row, "responses", wanted), "responses")
    ranks = _ranks(value_of(row, "ranks", wanted), len(responses))
    if len(responses) < 2:
        refuse(f"responses holds {len(responses)} answer; a ranking compares at least 2")
    answers = [_answer(text, prompt, f"responses[{i}]") for i, text in enumerate(responses)]
    _refuse_equal_texts_apart(answers, ranks)
    return Ranking(
        prompt=prompt,
        responses=answers,
        ranks=ranks,
        annotator=_annotator(row),
        strength=_strength(row, scores),
        tools=tools_of(row),
    )


def _pair(row: Row, scores: ScoreColumns) -> Ranking:
    wanted = "prompt, chosen and rejected"
    chosen, rejected = value_of(row, "chosen", wanted), value_of(row, "rejected", wanted)
    texts = isinstance(chosen, str) and isinstance(rejected, str)
    split = "prompt" not in row
    if not split:
        prompt = prompt_of(row, wanted)
        split = texts and isinstance(prompt, str) and _both_begin_with(prompt, chosen, rejected)
        start = len(prompt) if split else 0
        if (longer := _shared_after(prompt, chosen, rejected)) is not None:
            prompt, split = longer, True
    elif texts:
        start = _shared_text(chosen, rejected)
        prompt = with_system(row, chosen[:start].strip())
    else:
        prompt = with_system(row, _shared_turns(chosen, rejected))
        start = 0
    if texts and split:
        chosen, rejected = chosen[start:].lstrip(), rejected[start:].lstrip()
    if isinstance(row.get("messages"), list):
        _check_repeated_chosen(row, prompt, chosen)
    answers = [_answer(chosen, prompt, "chosen"), _answer(rejected, prompt, "rejected")]
    if answers[0].strip() == answers[1].strip():
        refuse("chosen and rejected are the same text: nothing is preferred")
    return Ranking(
        prompt=prompt,
        responses=answers,
        ranks=[1, 2],
        annotator=_annotator(row),
        strength=_strength(row, scores),
        tools=tools_of(row),
        implicit_prompt=split,
    )


def _both_begin_with(prompt: str, chosen: str, rejected: str) -> bool:
    """Whether the prompt is repeated before both responses."""
    asked = prompt.strip()
    rests = [text.removeprefix(prompt) for text in (chosen, rejected)]
    return (
        bool(asked)
        and rests != [chosen, rejected]
        and all(
            len(rest) < len(text) and rest.strip()
            for rest, text in zip(rests, (chosen, rejected), strict=True)
        )
    )


def _shared_text(chosen: str, rejected: str) -> int:
    """Length of the common beginning of two texts, up to the end of a word."""
    if _HH_TURN in chosen:
        refuse(
            "no prompt, and chosen is a transcript of Human and Assistant; convert it first: "
            "rlhf data convert FILE --from hh"
        )
    shared = chosen[: shared_length(chosen, rejected)]
    start = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:start].strip():
        refuse("no prompt; a row needs prompt, chosen and rejected")
    return start


def _shared_turns(chosen: Any, rejected: Any) -> list[Message]:
    if isinstance(chosen, str) or isinstance(rejected, str):
        refuse("no prompt; a row needs prompt, chosen and rejected")
    first = messages_of(chosen, "chosen", last=("assistant",))[:-1]
    if first != messages_of(rejected, "rejected", last=("assistant",))[:-1] or not first:
        refuse("no prompt, and chosen and rejected do not begin with the same turns")
    return first


def _shared_after(prompt: Prompt, chosen: Any, rejected: Any) -> Prompt | None:
    """The turns that both conversations share, where they are the prompt and more turns after it.

    Some sets keep the first question of a conversation as its prompt.
    """
    if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected):
        return None
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    first = messages_of(chosen, "chosen", last=("assistant",))[:-1]
    goes_on = len(first) > len(asked) and first[: len(asked)] == list(asked)
    shared = first == messages_of(rejected, "rejected", last=("assistant",))[:-1]
    return first if goes_on and shared else None


def _check_repeated_chosen(row: Row, prompt: Prompt, chosen: Any) -> None:
    """`messages` next to `chosen` have to be the chosen conversation, as in UltraFeedback."""
    told = messages_of(row["messages"], "messages")
    if told[-1]["content"].strip() != _answer(chosen, prompt, "chosen").strip():
        refuse("messages next to chosen and rejected, and they are not the chosen conversation")


def _answer(value: Any, prompt: Prompt, name: str) -> str:
    """The response's text; given as messages, the last one, after nothing or the prompt itself."""
    if not isinstance(value, list) or not value:
        return text_of(value, name)
    turns = messages_of(value, name, last=("assistant",))
    *between, answer = after_prompt(turns, prompt, name)
    if between:
        refuse(
            f"{name} has turns between the prompt and its last message, and not the same ones as "
            "the others; a ranking compares responses to one prompt"
        )
    if answer.get("tool_calls"):
        refuse(f"{name} calls a tool; a preference is between texts")
    return with_thought(answer.get("reasoning_content", ""), answer["content"])


def _ranks(value: Any, count: int) -> Sequence[int]:
    ranks = list_of(value, "ranks")
    if any(isinstance(rank, bool) or not isinstance(rank, int) for rank in ranks):
        refuse(f"ranks {ranks} are not whole numbers (1 is best, equal ranks tie)")
    if min(ranks) < 1:
        refuse(f"ranks {ranks} hold one below 1 (1 is best)")
    if len(ranks) != count:
        refuse(f"{len(ranks)} ranks for {count} responses; give one rank a response")
    return ranks


def _refuse_equal_texts_apart(answers: Sequence[str], ranks: Sequence[int]) -> None:
    """The space around a text does not count: no reader sees it."""
    first: dict[str, int] = {}
    for index, text in enumerate(answers):
        same = first.setdefault(text.strip(), index)
        if ranks[same] != ranks[index]:
            refuse(
                f"responses[{same}] and responses[{index}] are the same text with ranks "
                f"{ranks[same]} and {ranks[index]}; equal texts tie"
            )


def _annotator(row: Row) -> str:
    """Who ranked, "" where the row does not say; a number is a name too."""
    value = row.get("annotator")
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        refuse(f"annotator is {type(value).__name__}, neither a name nor a number")
    # One person, whichever way a program composes the letters of a name.
    return "" if value is None else unicodedata.normalize("NFC", str(value))


def _strength(row: Row, scores: ScoreColumns) -> float:
    """How clear the preference was: `strength`, TRL's `margin`, or the scores' difference."""
    given = [name for name in ("strength", "margin") if name in row]
    if len(given) == 2 and row["strength"] != row["margin"]:
        refuse("strength and margin both say how clear the preference was; give one of them")
    if score_names := [name for name in ("score_chosen", "score_rejected") if name in row]:
        if scores == "reject":
            refuse(
                f"{score_names[0]} would be left out; set score_columns: strength to weigh the "
                "pair by the scores' difference, or score_columns: ignore"
            )
        if scores == "strength" and not given:
            return _difference(row)
    name = given[0] if given else "strength"
    value = row.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        refuse(f"{name} {value!r} is not a number above 0")
    return float(value)


def _difference(row: Row) -> float:
    values: list[Any] = [row.get("score_chosen"), row.get("score_rejected")]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        refuse(f"score_chosen and score_rejected are {values}, not two numbers")
    difference = float(values[0] - values[1])
    if not 0 < difference < 1e6:
        refuse(f"score_chosen {values[0]} is not above score_rejected {values[1]}")
    return difference
