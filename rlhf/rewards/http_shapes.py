"""The requests and answers of servers that score responses, chosen by the path of the address.

    /v1/score     this project's: prompts and responses, scored by `rlhf serve --reward_model`
    /classify     vLLM's, of a sequence classifier with one label; the logit is asked for
    /score        vLLM's, of a cross-encoder: how well a response fits its prompt
    /get_reward   OpenRLHF's remote reward model: rendered texts, and a label

(https://docs.vllm.ai/en/latest/models/pooling_models.html; OpenRLHF: openrlhf/cli/serve_rm.py.)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from rlhf.data.tokenization.rendering import as_messages
from rlhf.errors import ConfigError
from rlhf.rewards.case import Case, NoScore
from rlhf.types import Prompt, Tools, tools_in

AT_ONCE = 16  # responses of one request
LABEL_COLUMNS = ("label", "labels", "answer")  # the first that a row has goes to /get_reward


@dataclass(frozen=True, kw_only=True)
class Texts:
    """How prompts and responses become texts, for servers that render none themselves.

    prompt: the text that a response follows.
    whole: the text of prompt and response, with the end of the turn.
    raw: whether prompts are texts without a chat template.
    """

    prompt: Callable[[Prompt, Tools], str]
    whole: Callable[[Prompt, str, Tools], str]
    raw: bool


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The form of a server's requests and answers."""

    path: str
    cases_per_call: int
    body: Callable[[Sequence[Case], Texts | None], Mapping[str, object]]
    values: Callable[[Any], object]  # of an answer, in the order of the cases


def shape_of(address: str, *, raw: bool = False) -> Shape:
    """The shape that the address's path names.

    raw: whether prompts are texts without a chat template, which vLLM's /classify reads as they
        are; otherwise it gets messages, a conversation in each request.

    Raises:
        ConfigError: a path that none of the shapes has.
    """
    path = urlsplit(address).path.rstrip("/")
    if path.endswith("/v1/score"):
        return Shape(path=path, cases_per_call=AT_ONCE, body=_items, values=_scores)
    if path.endswith("/classify"):
        size = AT_ONCE if raw else 1
        return Shape(path=path, cases_per_call=size, body=_classified, values=_logits)
    if path.endswith("/score"):
        return Shape(path=path, cases_per_call=AT_ONCE, body=_pairs, values=_scores)
    if path.endswith("/get_reward"):
        return Shape(path=path, cases_per_call=AT_ONCE, body=_queries, values=_rewards)
    raise ConfigError(
        f"reward {address}: the path names the form of the requests; use /v1/score (rlhf serve), "
        "/classify or /score (vLLM), or /get_reward (OpenRLHF).",
        code="bad-reward",
    )


def _items(cases: Sequence[Case], texts: Texts | None) -> Mapping[str, object]:
    return {
        "items": [
            {"prompt": case.prompt, "response": case.response}
            | ({"tools": list(tools)} if (tools := tools_in(case.columns)) else {})
            for case in cases
        ]
    }


def _classified(cases: Sequence[Case], texts: Texts | None) -> Mapping[str, object]:
    """The logit is the score: vLLM's default is its sigmoid, which is flat where scores differ."""
    if texts is not None and texts.raw:
        return {
            "input": [f"{case.prompt}{case.text}" for case in cases], "use_activation": False
        }  # fmt: skip
    [case] = cases
    turn = {"role": "assistant", "content": case.text}
    return {"messages": [*as_messages(case.prompt), turn], "use_activation": False}


def _pairs(cases: Sequence[Case], texts: Texts | None) -> Mapping[str, object]:
    """A cross-encoder reads plain texts; its server joins them."""
    return {
        "text_1": [plain_text(case.prompt) for case in cases],
        "text_2": [case.text for case in cases],
    }


def _queries(cases: Sequence[Case], texts: Texts | None) -> Mapping[str, object]:
    return {
        "query": [_whole_text(case, texts) for case in cases],
        "prompts": [_prompt_text(case, texts) for case in cases],
        "labels": [_label(case.columns) for case in cases],
    }


def _label(columns: Mapping[str, object]) -> object:
    return next((columns[name] for name in LABEL_COLUMNS if columns.get(name) is not None), "")


def _prompt_text(case: Case, texts: Texts | None) -> str:
    if texts is not None:
        return texts.prompt(case.prompt, tools_in(case.columns))
    return _plain(case)


def _whole_text(case: Case, texts: Texts | None) -> str:
    if texts is not None:
        return texts.whole(case.prompt, case.response, tools_in(case.columns))
    return _plain(case) + case.text


def plain_text(prompt: Prompt) -> str:
    """The prompt as plain text: its only message, or a line with the role for each message."""
    turns = as_messages(prompt)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _plain(case: Case) -> str:
    if not isinstance(case.prompt, str):
        raise NoScore(
            "the prompt is a conversation, which this server reads as a text, and no chat template "
            "is known here; use the server's /v1/score"
        )
    return case.prompt


def _scores(answer: Any) -> object:
    return [each["score"] for each in _by_index(answer)]


def _logits(answer: Any) -> object:
    return [_only(each["probs"]) for each in _by_index(answer)]


def _only(values: Sequence[object]) -> object:
    if len(values) != 1:
        raise NoScore(f"the model has {len(values)} classes; serve a reward model, which has one")
    return values[0]


def _rewards(answer: Any) -> object:
    """`rewards`; numbers may be lists of one, as older servers of OpenRLHF send them."""
    rewards = answer["rewards"]
    listed = rewards if isinstance(rewards, list) else [rewards]
    return [each[0] if isinstance(each, list) and len(each) == 1 else each for each in listed]


def _by_index(answer: Any) -> list[Mapping[str, Any]]:
    data = cast(Sequence[Mapping[str, Any]], answer["data"])
    return sorted(data, key=lambda each: int(each["index"]))


def read_values(shape: Shape, answer: object) -> object:
    """The values of an answer, in the order of the cases; `null` is no score.

    Raises:
        NoScore: an answer of another form.
    """
    try:
        values = shape.values(answer)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NoScore(
            f"the answer has not the form of {shape.path}: {str(answer)[:200]!r} ({error!r})"
        ) from error
    assert isinstance(values, list)
    return [math.nan if value is None else value for value in values]
