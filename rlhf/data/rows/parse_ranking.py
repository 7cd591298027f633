"""A row of a ranking or a pair becomes a `Ranking`, or a `DataError` with the reason."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rlhf.data.files.raw import Row
from rlhf.data.rows.endings import endings_of
from rlhf.data.rows.fields import (
    after_prompt,
    annotator_of,
    check_columns,
    check_context,
    list_of,
    prompt_of,
    prompt_turns,
    text_of,
    value_of,
    with_system,
)
from rlhf.data.rows.messages import messages_of, tools_of
from rlhf.data.rows.parse_probabilities import pair_probabilities
from rlhf.data.tokenization.template_format import shared_length
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import reject_row
from rlhf.types import Message, Prompt, Ranking

MAX_STRENGTH = 1e6  # of a preference; exclusive
ScoreColumns = Literal["reject", "strength", "ignore"]
_HH_TURN = "\n\nHuman:"


def parse_ranking(row: Row, scores: ScoreColumns = "reject") -> Ranking:
    """The ranking of `{"prompt", "responses", "ranks"}` or `{"prompt", "chosen", "rejected"}`.

    A lower rank is better, equal ranks tie, and equal texts have to tie. Where chosen and rejected
    both begin with the prompt, as texts or as conversations, that beginning is the prompt.

    Args:
        row: the row as it was read.
        scores: the use of `score_chosen` and `score_rejected`: "strength" takes their difference
            as the strength, "ignore" drops them, "reject" raises for a row that has them.

    Raises:
        DataError: the reason why it is not a ranking.
    """
    check_context(row)
    if "chosen" in row or "rejected" in row:
        check_columns(row, ("chosen", "rejected", "messages"))
        return _pair(row, scores)
    check_columns(row, ("responses",))
    needed = "prompt, responses and ranks, or prompt, chosen and rejected"
    prompt = prompt_of(row, needed)
    responses = list_of(value_of(row, "responses", needed), "responses")
    ranks = _ranks(value_of(row, "ranks", needed), len(responses))
    if len(responses) < 2:
        reject_row("responses has 1 text; a ranking compares at least 2")
    texts = [_response(text, prompt, f"responses[{i}]") for i, text in enumerate(responses)]
    _check_equal_texts_tie(texts, ranks)
    return Ranking(
        prompt=prompt,
        responses=texts,
        ranks=ranks,
        annotator=annotator_of(row),
        annotator_group=_name(row, "annotator_group"),
        category=_name(row, "category"),
        strength=_strength(row, scores),
        endings=endings_of(row, len(texts)),
        tools=tools_of(row),
    )


def parse_ranking_with_columns(
    row: Row,
    scores: ScoreColumns = "reject",
    weight_column: str | None = None,
    probability_column: str | None = None,
) -> Ranking:
    """`parse_ranking` with the weight and the pairs' probabilities in columns of the row.

    Without the key of a column the weight is 1.0, and there are no probabilities.

    Raises:
        DataError: the row has no weight, a weight that is not a number above 0, or probabilities
            that cannot be used.
    """
    ranking = parse_ranking(row, scores)
    if probability_column is not None:
        probabilities = pair_probabilities(row, probability_column, ranking.responses)
        ranking = replace(ranking, probabilities=probabilities)
    if weight_column is None:
        return ranking
    if weight_column not in row:
        reject_row(f"no column {weight_column}, which weight_column names")
    return replace(ranking, weight=_positive(weight_column, row[weight_column]))


def _pair(row: Row, scores: ScoreColumns) -> Ranking:
    needed = "prompt, chosen and rejected"
    chosen, rejected = value_of(row, "chosen", needed), value_of(row, "rejected", needed)
    are_texts = isinstance(chosen, str) and isinstance(rejected, str)
    implicit = "prompt" not in row  # whether the prompt is the common beginning of both
    if not implicit:
        prompt = prompt_of(row, needed)
        implicit = (
            are_texts and isinstance(prompt, str) and _both_begin_with(prompt, chosen, rejected)
        )
        start = len(prompt) if implicit else 0
        if (longer := _longer_prompt(prompt, chosen, rejected)) is not None:
            prompt, implicit = longer, True
    elif are_texts:
        start = _shared_text(chosen, rejected)
        prompt = with_system(row, chosen[:start].strip())
    else:
        prompt = with_system(row, _shared_turns(chosen, rejected))
        start = 0
    if are_texts and implicit:
        chosen, rejected = chosen[start:].lstrip(), rejected[start:].lstrip()
    if isinstance(row.get("messages"), list):
        _check_repeated_chosen(row, prompt, chosen)
    responses = [_response(chosen, prompt, "chosen"), _response(rejected, prompt, "rejected")]
    if responses[0].strip() == responses[1].strip():
        reject_row("chosen and rejected are the same text: nothing is preferred")
    return Ranking(
        prompt=prompt,
        responses=responses,
        ranks=[1, 2],
        annotator=annotator_of(row),
        annotator_group=_name(row, "annotator_group"),
        category=_name(row, "category"),
        strength=_strength(row, scores),
        endings=endings_of(row, 2),
        tools=tools_of(row),
        implicit_prompt=implicit,
    )


def _name(row: Row, column: str) -> str:
    """The part of a report that the row belongs to; "" if it names none."""
    value = row.get(column)
    return "" if value is None else str(value)


def _both_begin_with(prompt: str, chosen: str, rejected: str) -> bool:
    """Whether the prompt is repeated before both responses."""
    rests = [text.removeprefix(prompt) for text in (chosen, rejected)]
    return (
        bool(prompt.strip())
        and rests != [chosen, rejected]
        and all(
            len(rest) < len(text) and rest.strip()
            for rest, text in zip(rests, (chosen, rejected), strict=True)
        )
    )


def _shared_text(chosen: str, rejected: str) -> int:
    """Length of the common beginning of two texts, up to the end of a word."""
    if _HH_TURN in chosen:
        reject_row(
            "no prompt, but chosen is a transcript of Human and Assistant; convert it first: "
            "rlhf data convert FILE --from hh"
        )
    shared = chosen[: shared_length(chosen, rejected)]
    start = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:start].strip():
        reject_row("no prompt; a row needs prompt, chosen and rejected")
    return start


def _shared_turns(chosen: object, rejected: object) -> list[Message]:
    """The turns before the last one, which have to be the same in both conversations."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        reject_row("no prompt; a row needs prompt, chosen and rejected")
    first = messages_of(chosen, "chosen", last=("assistant",))[:-1]
    if first != messages_of(rejected, "rejected", last=("assistant",))[:-1] or not first:
        reject_row("no prompt, and chosen and rejected do not begin with the same turns")
    return first


def _longer_prompt(prompt: Prompt, chosen: object, rejected: object) -> Prompt | None:
    """The turns that both conversations share, where they go beyond the prompt; else None.

    Some datasets have the first question of a conversation as its prompt.
    """
    if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected):
        return None
    turns = list(prompt_turns(prompt))
    first = messages_of(chosen, "chosen", last=("assistant",))[:-1]
    is_longer = len(first) > len(turns) and first[: len(turns)] == turns
    shared = first == messages_of(rejected, "rejected", last=("assistant",))[:-1]
    return first if is_longer and shared else None


def _check_repeated_chosen(row: Row, prompt: Prompt, chosen: object) -> None:
    """Reject `messages` next to `chosen` that are not the chosen conversation of UltraFeedback."""
    turns = messages_of(row["messages"], "messages")
    if turns[-1]["content"].strip() != _response(chosen, prompt, "chosen").strip():
        reject_row("messages next to chosen and rejected are not the chosen conversation")


def _response(value: object, prompt: Prompt, name: str) -> str:
    """The response's text; of messages the last one, which follows nothing or the prompt."""
    if not isinstance(value, list) or not value:
        return text_of(value, name)
    turns = messages_of(value, name, last=("assistant",))
    *between, last = after_prompt(turns, prompt, name)
    if between:
        reject_row(
            f"{name} has other turns between the prompt and its last message than the other "
            "responses; a ranking compares responses to one prompt"
        )
    if last.get("tool_calls"):
        reject_row(f"{name} calls a tool; a preference is between texts")
    return with_thought(last.get("reasoning_content", ""), last["content"])


def _ranks(value: object, count: int) -> Sequence[int]:
    values = list_of(value, "ranks")
    ranks = [rank for rank in values if isinstance(rank, int) and not isinstance(rank, bool)]
    if len(ranks) < len(values):
        reject_row(f"ranks {values} are not whole numbers (1 is best, equal ranks tie)")
    if min(ranks) < 1:
        reject_row(f"ranks {ranks} contain one below 1 (1 is best)")
    if len(ranks) != count:
        reject_row(f"{len(ranks)} ranks for {count} responses; give one rank per response")
    return ranks


def _check_equal_texts_tie(texts: Sequence[str], ranks: Sequence[int]) -> None:
    """Reject equal texts on different ranks; space around a text does not count."""
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        same = first.setdefault(text.strip(), index)
        if ranks[same] != ranks[index]:
            reject_row(
                f"responses[{same}] and responses[{index}] are the same text with ranks "
                f"{ranks[same]} and {ranks[index]}; equal texts tie"
            )


def _strength(row: Row, scores: ScoreColumns) -> float:
    """How clear the preference was: `strength`, TRL's `margin`, or the scores' difference."""
    columns = [name for name in ("strength", "margin") if name in row]
    if len(columns) == 2 and row["strength"] != row["margin"]:
        reject_row("strength and margin differ, but mean the same; give one of them")
    if score_names := [name for name in ("score_chosen", "score_rejected") if name in row]:
        if scores == "reject":
            reject_row(
                f"{score_names[0]} would be ignored; set score_columns: strength to weigh the "
                "pair by the scores' difference, or score_columns: ignore"
            )
        if scores == "strength" and not columns:
            return _difference(row)
    name = columns[0] if columns else "strength"
    return _positive(name, row.get(name, 1.0))


def _positive(name: str, value: object) -> float:
    """A strength or weight, which has to be a number above 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value < MAX_STRENGTH
    ):
        reject_row(f"{name} {value!r} is not a number above 0")
    return float(value)


def _difference(row: Row) -> float:
    values = [row.get("score_chosen"), row.get("score_rejected")]
    scores = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(scores) < len(values):
        reject_row(f"score_chosen and score_rejected are {values}, not two numbers")
    chosen, rejected = scores
    difference = float(chosen - rejected)
    if not 0 < difference < MAX_STRENGTH:
        reject_row(f"score_chosen {chosen} is not above score_rejected {rejected}")
    return difference
