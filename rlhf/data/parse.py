"""One row as read -> one typed row, or a `DataError` with the reason; its place is added later."""

from collections.abc import Sequence
from typing import Any, NoReturn

from rlhf.data.read import Row
from rlhf.errors import DataError
from rlhf.types import Demonstration, Message, Prompt, PromptRow, Ranking

ROLES = ("system", "user", "assistant")


def parse_row(row: Row) -> Demonstration | Ranking | PromptRow | str:
    """A row of any of our types, known by its keys.

    Raises:
        DataError: the reason.
    """
    if row.keys() & {"chosen", "rejected", "responses"}:
        return parse_ranking(row)
    if row.keys() & {"completion", "messages"}:
        return parse_demonstration(row)
    return parse_prompt(row) if "prompt" in row else parse_text(row)


def parse_demonstration(row: Row) -> Demonstration:
    """`{"prompt", "completion"}`, or `{"messages"}` of which the last turn is the answer.

    Raises:
        DataError: the reason; a thumb (`label`) is refused, so that a thumb down never
            becomes something to imitate.
    """
    if "label" in row and "completion" in row:
        _refuse("a thumb (label) is no demonstration; convert its good answers first")
    if "messages" in row:
        messages = _messages(row["messages"], "messages", last="assistant")
        return Demonstration(prompt=messages[:-1], completion=messages[-1]["content"])
    prompt = _prompt(_value(row, "prompt", "prompt and completion, or messages"))
    completion = _answer(_value(row, "completion", "prompt and completion"), prompt, "completion")
    return Demonstration(prompt=prompt, completion=completion)


def parse_prompt(row: Row) -> PromptRow:
    """`{"prompt"}`, the other columns kept."""
    prompt = _prompt(_value(row, "prompt", "prompt"))
    return PromptRow(prompt=prompt, columns={k: v for k, v in row.items() if k != "prompt"})


def parse_text(row: Row) -> str:
    """`{"text"}`."""
    return _text(_value(row, "text", "text"), "text")


def parse_ranking(row: Row) -> Ranking:
    """`{"prompt", "responses", "ranks"}` or `{"prompt", "chosen", "rejected"}`, a ranking of two.

    A lower rank is better, equal ranks tie, and equal texts have to. Where chosen and rejected
    are whole conversations with one beginning, that beginning may stand for the prompt.
    """
    if "chosen" in row or "rejected" in row:
        return _pair(row)
    wanted = "prompt, responses and ranks, or prompt, chosen and rejected"
    prompt = _prompt(_value(row, "prompt", wanted))
    responses = _list(_value(row, "responses", wanted), "responses")
    ranks = _ranks(_value(row, "ranks", wanted), len(responses))
    if len(responses) < 2:
        _refuse(f"responses holds {len(responses)} answer; a ranking compares at least 2")
    answers = [_answer(text, prompt, f"responses[{i}]") for i, text in enumerate(responses)]
    _refuse_equal_texts_apart(answers, ranks)
    return Ranking(
        prompt=prompt,
        responses=answers,
        ranks=ranks,
        annotator=_annotator(row),
        strength=_strength(row),
    )


def _pair(row: Row) -> Ranking:
    wanted = "prompt, chosen and rejected"
    chosen, rejected = _value(row, "chosen", wanted), _value(row, "rejected", wanted)
    prompt = _prompt(row["prompt"]) if "prompt" in row else _shared_start(chosen, rejected)
    answers = [_answer(chosen, prompt, "chosen"), _answer(rejected, prompt, "rejected")]
    if answers[0].strip() == answers[1].strip():
        _refuse("chosen and rejected are the same text: nothing is preferred")
    return Ranking(
        prompt=prompt,
        responses=answers,
        ranks=[1, 2],
        annotator=_annotator(row),
        strength=_strength(row),
    )


def _shared_start(chosen: Any, rejected: Any) -> list[Message]:
    if isinstance(chosen, str) or isinstance(rejected, str):
        _refuse("no prompt; a row needs prompt, chosen and rejected")
    first = _messages(chosen, "chosen", last="assistant")[:-1]
    if first != _messages(rejected, "rejected", last="assistant")[:-1] or not first:
        _refuse("no prompt, and chosen and rejected do not begin with the same turns")
    return first


def _value(row: Row, key: str, wanted: str) -> Any:
    if key not in row:
        _refuse(
            f"no {key}; a row needs {wanted}, this one has {', '.join(row) or 'nothing but null'}"
        )
    return row[key]


def _prompt(value: Any) -> Prompt:
    """A string, or messages that end with the user's."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        _refuse(f"prompt is {_kind(value)}, neither text nor a list of messages")
    return _messages(value, "prompt", last="user")


def _answer(value: Any, prompt: Prompt, name: str) -> str:
    """The answer's text; given as messages, the last one, after nothing or the prompt itself."""
    if not isinstance(value, list) or not value:
        return _text(value, name)
    *before, answer = [_turn(turn, name) for turn in value]
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if before and before != asked:
        _refuse(f"{name} is a conversation that does not begin with the prompt")
    if answer["role"] != "assistant":
        _refuse(f"{name} ends with {answer['role']}, not with the assistant")
    return answer["content"]


def _messages(value: Any, name: str, *, last: str) -> list[Message]:
    """System first if at all, then user and assistant in turn, `last` at the end."""
    turns = [_turn(turn, name) for turn in _list(value, name)]
    roles = [turn["role"] for turn in turns]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    expected = [("user", "assistant")[i % 2] for i in range(len(spoken))]
    if not spoken or spoken != expected or spoken[-1] != last:
        _refuse(
            f"{name}: roles {', '.join(roles) or 'none'}; expected an optional system, "
            f"then user and assistant in turn, ending with {last}"
        )
    return turns


def _turn(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        _refuse(f'{name}: a message is {{"role", "content"}}, not {str(value)[:60]!r}')
    if value["role"] not in ROLES:
        _refuse(f"{name}: unknown role {value['role']!r}; use {', '.join(ROLES)}")
    content = value["content"]
    if value["role"] == "assistant":
        content = _text(content, f"{name}: the assistant's content")
    elif not isinstance(content, str):
        _refuse(f"{name}: content is {_kind(content)}, not text")
    return {"role": value["role"], "content": content}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        _refuse(f"{name} is {_kind(value)}, not text")
    if not value.strip():
        _refuse(f"{name} is empty")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"{name} is {_kind(value)}, not a list")
    if not value:
        _refuse(f"{name} is an empty list")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _ranks(value: Any, count: int) -> Sequence[int]:
    ranks = _list(value, "ranks")
    if any(isinstance(rank, bool) or not isinstance(rank, int) for rank in ranks):
        _refuse(f"ranks {ranks} are not whole numbers (1 is best, equal ranks tie)")
    if min(ranks) < 1:
        _refuse(f"ranks {ranks} hold one below 1 (1 is best)")
    if len(ranks) != count:
        _refuse(f"{len(ranks)} ranks for {count} responses; give one rank a response")
    return ranks


def _refuse_equal_texts_apart(answers: Sequence[str], ranks: Sequence[int]) -> None:
    """The space around a text does not count: no reader sees it."""
    first: dict[str, int] = {}
    for index, text in enumerate(answers):
        same = first.setdefault(text.strip(), index)
        if ranks[same] != ranks[index]:
            _refuse(
                f"responses[{same}] and responses[{index}] are the same text with ranks "
                f"{ranks[same]} and {ranks[index]}; equal texts tie"
            )


def _annotator(row: Row) -> str:
    """Who ranked, "" where the row does not say; a number is a name too."""
    value = row.get("annotator")
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        _refuse(f"annotator is {type(value).__name__}, neither a name nor a number")
    return "" if value is None else str(value)


def _strength(row: Row) -> float:
    value = row.get("strength", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        _refuse(f"strength {value!r} is not a number above 0")
    return float(value)


def _refuse(reason: str) -> NoReturn:
    raise DataError(reason)
