"""A judge behind an address that speaks OpenAI's chat API: its settings, a trial, questions."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.study_config import OF_THE_JUDGE, StudyConfig
from rlhf.evaluation.judges.llm import cut_off_warning, is_address, question_of, read_verdict
from rlhf.evaluation.judges.pairwise import Judging, Shown
from rlhf.evaluation.judges.requests import KEY, Refusal, ask

TRIAL = Shown(prompt="What is 2 + 2?", first="It is 4.", second="It is 5.")
_AT_ONCE = 8  # questions in flight at an address
_OF_THIS_QUESTION = (400, 413, 422)  # statuses that say: too long, or not allowed


@dataclass(frozen=True, kw_only=True)
class RemoteJudge:
    """A model behind an address, and what every question carries besides its text."""

    address: str  # …/v1
    model: str
    fields: Mapping[str, Any]


def judge_of(study: StudyConfig) -> RemoteJudge | None:
    """The judge that the keys name, where it is behind an address."""
    if study.llm_judge is None or not is_address(study.llm_judge):
        return None
    return RemoteJudge(
        address=study.llm_judge, model=study.llm_judge_model, fields=study.llm_judge_fields
    )


def settled(judge: RemoteJudge, say: Callable[[str], None]) -> RemoteJudge:
    """`judge` with the fields that its model supports, found by one question that is not counted.

    Models that reason take `max_completion_tokens` instead of `max_tokens` and no temperature but
    their own: these two are changed where they are refused, and logged.

    Raises:
        ConfigError: the key, the model or another field is refused, or the reply is cut off.
    """
    while True:
        reply, refusal = _ask(judge, TRIAL)
        if refusal is None:
            _check_trial(judge, reply, say)
            return judge
        changed = _without_refused(judge, refusal)
        if changed is None:
            raise ConfigError(_why(judge, refusal))
        judge, change = changed
        say(f"llm_judge {judge.model} {change}")


def _without_refused(judge: RemoteJudge, refusal: Refusal) -> tuple[RemoteJudge, str] | None:
    """The judge without the field that was refused and what has changed; None if nothing helps."""
    fields = dict(judge.fields)
    if refusal.status not in _OF_THIS_QUESTION:
        return None
    if "max_tokens" in fields and refusal.unsupported("max_tokens"):
        fields["max_completion_tokens"] = fields.pop("max_tokens")
        return replace(judge, fields=fields), "is sent max_completion_tokens instead of max_tokens"
    # Another temperature was asked for by the user, who is told that it cannot be had.
    if fields.get("temperature") == 0 and refusal.unsupported("temperature"):
        del fields["temperature"]
        return replace(judge, fields=fields), "supports no temperature 0 and is asked at its own"
    return None


def _check_trial(judge: RemoteJudge, reply: Any, say: Callable[[str], None]) -> None:
    """Refuse a reply that shows that no question will get a verdict.

    Raises:
        ConfigError: there is no choice in it, or it was cut off.
    """
    text = _content(reply)
    if text is None:
        raise ConfigError(
            f"llm_judge {judge.address} replies {json.dumps(reply)[:200]}, which has no "
            "choices[0].message; give the address of an OpenAI-compatible server, "
            "http://HOST:PORT/v1."
        )
    if read_verdict(text) is not None:
        return
    if _cut_off(reply):
        raise ConfigError(
            f"llm_judge {judge.model} had no verdict within {_max_tokens(judge)} tokens of a trial "
            "question, its thought included; raise llm_judge_max_tokens."
        )
    say(f"warning: llm_judge {judge.model} gave no verdict on a trial question: {text[:100]!r}")


def remote_judge(judge: RemoteJudge, say: Callable[[str], None]) -> Judging:
    """Asks `judge`; the key is $OPENAI_API_KEY, if any.

    A question that it refuses, for its length or content, has no verdict; all of them refused is
    a mistake in what was asked for.
    """

    def ask_all(shown: Sequence[Shown]) -> list[str | None]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            replies = list(pool.map(lambda one: _ask_or_raise(judge, one), shown))
        refusals = [refusal for _, refusal in replies if refusal is not None]
        if replies and len(refusals) == len(replies):
            raise TrainingError(_why(judge, refusals[0]))
        verdicts = [read_verdict(_content(reply) or "") for reply, _ in replies]
        cut = sum(
            verdict is None and _cut_off(reply)
            for verdict, (reply, _) in zip(verdicts, replies, strict=True)
        )
        if cut:
            say(cut_off_warning(cut, len(replies), _max_tokens(judge)))
        return verdicts

    return ask_all


def _ask_or_raise(judge: RemoteJudge, shown: Shown) -> tuple[Any, Refusal | None]:
    """The reply, or why this question was refused.

    Raises:
        TrainingError: it does not answer, or refuses everybody.
    """
    reply, refusal = _ask(judge, shown)
    if refusal is not None and refusal.status not in _OF_THIS_QUESTION:
        raise TrainingError(_why(judge, refusal))
    return reply, refusal


def _ask(judge: RemoteJudge, shown: Shown) -> tuple[Any, Refusal | None]:
    message = {"role": "user", "content": question_of(shown)}
    return ask(judge.address, {"model": judge.model, "messages": [message], **judge.fields})


def _why(judge: RemoteJudge, refusal: Refusal) -> str:
    """What went wrong, and which key or variable to look at."""
    advice = f"check the address, its model and ${KEY}"
    if refusal.status in (401, 403):
        advice = f"check ${KEY}" if os.environ.get(KEY) else f"set ${KEY}"
    elif refusal.status == 404:
        advice = f"check the address and llm_judge_model={judge.model}"
    elif OF_THE_JUDGE.get(refusal.param) or refusal.param in judge.fields:
        advice = f"change {OF_THE_JUDGE.get(refusal.param) or 'llm_judge_extra_body'}"
    return f"llm_judge {judge.address}: {refusal.said}; {advice}."


def _content(reply: Any) -> str | None:
    """The text of the first choice, without what a server tells apart as its thought.

    Empty where it is null; None where there is no choice.
    """
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    if isinstance(content, list):  # parts, of which some are the thought
        content = "".join(
            str(part.get("text", ""))
            for part in content
            if isinstance(part, dict) and part.get("type") == "text"
        )
    return str(content or "")


def _cut_off(reply: Any) -> bool:
    try:
        return bool(reply["choices"][0]["finish_reason"] == "length")
    except (KeyError, IndexError, TypeError):
        return False


def _max_tokens(judge: RemoteJudge) -> Any:
    return judge.fields.get("max_tokens", judge.fields.get("max_completion_tokens"))
