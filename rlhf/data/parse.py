"""One row as read -> one typed row, or a `DataError` with the reason; its place is added later."""

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, Literal, NoReturn

from rlhf.data.messages import messages_of, tools_of
from rlhf.data.read import Row
from rlhf.data.thoughts import with_thought
from rlhf.errors import DataError
from rlhf.types import Demonstration, Message, Prompt, PromptRow, Ranking

TrainOn = Literal["all", "last"]
ScoreColumns = Literal["reject", "strength", "ignore"]
# Columns that hold a response or a judgement. Two of them in one row are two things to train on.
_RESPONSES = ("messages", "completion", "chosen", "rejected", "responses")
_UNSEEN = ("images", "image", "videos", "video", "audio", "audios")
_HH_TURN = "\n\nHuman:"


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


def parse_demonstration(row: Row, train_on: TrainOn = "all") -> Demonstration:
    """`{"prompt", "completion"}`, or `{"messages"}` of which the last turn is the response.

    Of `messages` every assistant turn is imitated, or with train_on="last" the last one alone; of
    a completion of several messages every one, and none of the prompt's.

    Raises:
        DataError: the reason; a thumb (`label`) is refused, so that a thumb down never
            becomes something to imitate.
    """
    _check_columns(row, ("messages",) if "messages" in row else ("completion",))
    if "label" in row and "completion" in row:
        _refuse("a thumb (label) is no demonstration; convert its good answers first")
    if "messages" in row:
        turns = _with_system(row, messages_of(row["messages"], "messages", last=("assistant",)))
        _check_repeated_prompt(row, turns)
        if len(turns) < 2:
            _refuse("messages holds the assistant's turn alone: there is nothing that it answers")
        return _demonstration(row, turns[:-1], turns[-1], every_turn=train_on == "all")
    prompt = _prompt(row, "prompt and completion, or messages")
    completion = _value(row, "completion", "prompt and completion")
    if not isinstance(completion, list) or not completion:
        text = _text(completion, "completion")
        return _demonstration(row, prompt, {"role": "assistant", "content": text})
    *between, last = _after_prompt(
        messages_of(completion, "completion", last=("assistant",)), prompt, "completion"
    )
    if not between:
        return _demonstration(row, prompt, last)
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    context = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in asked]
    return _demonstration(row, [*context, *between], last, every_turn=train_on == "all")


def _demonstration(
    row: Row, prompt: Prompt, turn: Message, *, every_turn: bool = False
) -> Demonstration:
    fields = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return Demonstration(
        prompt=prompt,
        completion=turn["content"],
        fields=fields,
        tools=tools_of(row),
        every_turn=every_turn,
    )


def parse_prompt(row: Row) -> PromptRow:
    """`{"prompt"}`, the other columns kept."""
    _check_columns(row, _RESPONSES)
    prompt = _prompt(row, "prompt")
    columns = {k: v for k, v in row.items() if k != "prompt"}
    tools = tools_of(row)
    return PromptRow(prompt=prompt, columns={**columns, "tools": tools} if tools else columns)


def parse_text(row: Row) -> str:
    """`{"text"}`."""
    _check_columns(row, ())
    return _text(_value(row, "text", "text"), "text")


def parse_ranking(row: Row, scores: ScoreColumns = "reject") -> Ranking:
    """`{"prompt", "responses", "ranks"}` or `{"prompt", "chosen", "rejected"}`, a ranking of two.

    A lower rank is better, equal ranks tie, and equal texts have to. Where chosen and rejected
    both begin with the prompt, as texts or as conversations, that beginning is the prompt.

    scores: what `score_chosen` and `score_rejected` are for: their difference is the strength, or
    they are ignored, or a row that has them is refused.
    """
    if "chosen" in row or "rejected" in row:
        _check_columns(row, ("chosen", "rejected", "messages"))
        return _pair(row, scores)
    _check_columns(row, ("responses",))
    wanted = "prompt, responses and ranks, or prompt, chosen and rejected"
    prompt = _prompt(row, wanted)
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
        strength=_strength(row, scores),
        tools=tools_of(row),
    )


def _pair(row: Row, scores: ScoreColumns) -> Ranking:
    wanted = "prompt, chosen and rejected"
    chosen, rejected = _value(row, "chosen", wanted), _value(row, "rejected", wanted)
    texts = isinstance(chosen, str) and isinstance(rejected, str)
    split = "prompt" not in row
    if not split:
        prompt = _prompt(row, wanted)
        split = texts and isinstance(prompt, str) and _both_begin_with(prompt, chosen, rejected)
        start = len(prompt) if split else 0
    elif texts:
        start = _shared_text(chosen, rejected)
        prompt = _with_system(row, chosen[:start].strip())
    else:
        prompt = _with_system(row, _shared_turns(chosen, rejected))
        start = 0
    if texts and split:
        chosen, rejected = chosen[start:].lstrip(), rejected[start:].lstrip()
    if isinstance(row.get("messages"), list):
        _check_repeated_chosen(row, prompt, chosen)
    answers = [_answer(chosen, prompt, "chosen"), _answer(rejected, prompt, "rejected")]
    if answers[0].strip() == answers[1].strip():
        _refuse("chosen and rejected are the same text: nothing is preferred")
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
            len(rest) < len(text) and rest.strip() for rest, text in zip(rests, (chosen, rejected))
        )
    )


def _shared_text(chosen: str, rejected: str) -> int:
    """Length of the common beginning of two texts, up to the end of a word."""
    if _HH_TURN in chosen:
        _refuse(
            "no prompt, and chosen is a transcript of Human and Assistant; convert it first: "
            "rlhf data convert FILE --from hh"
        )
    shared = commonprefix([chosen, rejected])
    start = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:start].strip():
        _refuse("no prompt; a row needs prompt, chosen and rejected")
    return start


def _shared_turns(chosen: Any, rejected: Any) -> list[Message]:
    if isinstance(chosen, str) or isinstance(rejected, str):
        _refuse("no prompt; a row needs prompt, chosen and rejected")
    first = messages_of(chosen, "chosen", last=("assistant",))[:-1]
    if first != messages_of(rejected, "rejected", last=("assistant",))[:-1] or not first:
        _refuse("no prompt, and chosen and rejected do not begin with the same turns")
    return first


def _check_columns(row: Row, used: Sequence[str]) -> None:
    """Refuse columns that look like training data and would be left out without a word."""
    for name in _UNSEEN:
        if row.get(name):
            _refuse(f"{name}: only text is read; leave the column out if the text is enough")
    if row.get("chat_template_kwargs"):
        _refuse("chat_template_kwargs is a key of the run, the same for all rows")
    for name in _RESPONSES:
        if name in row and name not in used:
            beside = next((other for other in used if other in row), "prompt")
            _refuse(f"{name} next to {beside}: a row is one or the other")


def _check_repeated_prompt(row: Row, turns: Sequence[Message]) -> None:
    """A prompt next to messages has to be part of them, as in UltraChat."""
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        if not any(prompt.strip() in turn["content"] for turn in turns):
            _refuse("prompt next to messages that do not hold it: a row is one or the other")
    elif isinstance(prompt, list) and messages_of(prompt, "prompt") != list(turns[: len(prompt)]):
        _refuse("prompt next to messages that do not begin with it: a row is one or the other")


def _check_repeated_chosen(row: Row, prompt: Prompt, chosen: Any) -> None:
    """Messages next to chosen and rejected have to be the chosen conversation, as UltraFeedback's."""
    told = messages_of(row["messages"], "messages")
    if told[-1]["content"].strip() != _answer(chosen, prompt, "chosen").strip():
        _refuse("messages next to chosen and rejected, and they are not the chosen conversation")


def _with_system(row: Row, prompt: Any) -> Any:
    """The prompt after the row's `system` or `system_prompt` text, where it has one."""
    given = [name for name in ("system", "system_prompt") if row.get(name)]
    if not given:
        return prompt
    text = row[given[0]]
    if not isinstance(text, str) or len(given) > 1:
        _refuse(f"{' and '.join(given)}: one text is expected")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if any(turn["role"] in ("system", "developer") for turn in turns):
        if turns[0]["content"].strip() == text.strip():
            return prompt
        _refuse(f"{given[0]} next to a conversation that has a {turns[0]['role']} message")
    return [{"role": "system", "content": text}, *turns]


def _value(row: Row, key: str, wanted: str) -> Any:
    if key not in row:
        _refuse(
            f"no {key}; a row needs {wanted}, this one has {', '.join(row) or 'nothing but null'}"
        )
    return row[key]


def _prompt(row: Row, wanted: str) -> Prompt:
    """A string, or messages that end with the user's or a tool's."""
    value = _value(row, "prompt", wanted)
    if not isinstance(value, str | list):
        _refuse(f"prompt is {_kind(value)}, neither text nor a list of messages")
    if isinstance(value, list):
        value = messages_of(value, "prompt", last=("user", "tool"))
    prompt: Prompt = _with_system(row, value)
    return prompt


def _answer(value: Any, prompt: Prompt, name: str) -> str:
    """The response's text; given as messages, the last one, after nothing or the prompt itself."""
    if not isinstance(value, list) or not value:
        return _text(value, name)
    turns = messages_of(value, name, last=("assistant",))
    *between, answer = _after_prompt(turns, prompt, name)
    if between:
        _refuse(f"{name} is a conversation that does not begin with the prompt")
    if answer.get("tool_calls"):
        _refuse(f"{name} calls a tool; a preference is between texts")
    return with_thought(answer.get("reasoning_content", ""), answer["content"])


def _after_prompt(turns: Sequence[Message], prompt: Prompt, name: str) -> list[Message]:
    """The turns behind the prompt, where they repeat it."""
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if turns[0]["role"] in ("assistant", "tool"):
        return list(turns)
    if list(turns[: len(asked)]) != list(asked) or len(turns) == len(asked):
        _refuse(f"{name} is a conversation that does not begin with the prompt")
    return list(turns[len(asked) :])


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


def _strength(row: Row, scores: ScoreColumns) -> float:
    """How clear the preference was: `strength`, TRL's `margin`, or the scores' difference."""
    given = [name for name in ("strength", "margin") if name in row]
    if len(given) == 2 and row["strength"] != row["margin"]:
        _refuse("strength and margin both say how clear the preference was; give one of them")
    if score_names := [name for name in ("score_chosen", "score_rejected") if name in row]:
        if scores == "reject":
            _refuse(
                f"{score_names[0]} would be left out; set score_columns: strength to weigh the "
                "pair by the scores' difference, or score_columns: ignore"
            )
        if scores == "strength" and not given:
            return _difference(row)
    name = given[0] if given else "strength"
    value = row.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        _refuse(f"{name} {value!r} is not a number above 0")
    return float(value)


def _difference(row: Row) -> float:
    values = [row.get("score_chosen"), row.get("score_rejected")]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        _refuse(f"score_chosen and score_rejected are {values}, not two numbers")
    difference = float(values[0] - values[1])
    if not 0 < difference < 1e6:
        _refuse(f"score_chosen {values[0]} is not above score_rejected {values[1]}")
    return difference


def _refuse(reason: str) -> NoReturn:
    raise DataError(reason)
