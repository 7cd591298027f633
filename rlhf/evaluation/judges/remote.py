"""An LLM judge behind an address with OpenAI's chat API: its fields, a trial request, pairs."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.study_config import KEY_OF_FIELD, StudyConfig
from rlhf.evaluation.judges.llm import is_address, judge_prompt, read_verdict, truncation_warning
from rlhf.evaluation.judges.pairwise import AnonymousPair, CompareFunction
from rlhf.evaluation.judges.requests import KEY, Failure, send
from rlhf.runtime.parallel import run_together
from rlhf.types import JSON, JSONObject

TRIAL = AnonymousPair(prompt="What is 2 + 2?", first="It is 4.", second="It is 5.")
_CONCURRENT_REQUESTS = 8
_REQUEST_STATUSES = (400, 413, 422)  # errors of this request: too long, or a field not allowed

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RemoteJudge:
    """A model behind an address, and the fields of every request in addition to its messages."""

    address: str  # …/v1
    model: str
    fields: Mapping[str, object]


def judge_of(study: StudyConfig) -> RemoteJudge | None:
    """The judge of the keys `llm_judge*` if it is behind an address."""
    if study.llm_judge is None or not is_address(study.llm_judge):
        return None
    return RemoteJudge(
        address=study.llm_judge, model=study.llm_judge_model, fields=study.llm_judge_fields
    )


def adapt_to_server(judge: RemoteJudge, log: Log) -> RemoteJudge:
    """`judge` with fields that its model supports, determined by a trial request.

    Reasoning models take `max_completion_tokens` instead of `max_tokens` and only their own
    temperature. These two fields are changed if the server rejects them, and the change is logged.

    Raises:
        ConfigError: the server rejects the key, the model or another field, or cuts the reply off.
    """
    while True:
        reply, failure = _send(judge, TRIAL)
        if failure is None:
            _check_trial(judge, reply, log)
            return judge
        adapted = _without_rejected_field(judge, failure)
        if adapted is None:
            raise ConfigError(_message(judge, failure), code="judge-failed")
        judge, change = adapted
        log(f"llm_judge {judge.model} {change}")


def _without_rejected_field(judge: RemoteJudge, failure: Failure) -> tuple[RemoteJudge, str] | None:
    """The judge without the rejected field, and the change; None if no change helps."""
    fields = dict(judge.fields)
    if failure.status not in _REQUEST_STATUSES:
        return None
    if "max_tokens" in fields and failure.is_unsupported("max_tokens"):
        fields["max_completion_tokens"] = fields.pop("max_tokens")
        return replace(judge, fields=fields), "gets max_completion_tokens instead of max_tokens"
    # Another temperature is the user's choice; the error message tells that it is not supported.
    if fields.get("temperature") == 0 and failure.is_unsupported("temperature"):
        del fields["temperature"]
        change = "does not support temperature 0 and is used at its default temperature"
        return replace(judge, fields=fields), change
    return None


def _check_trial(judge: RemoteJudge, reply: JSON, log: Log) -> None:
    """Check that requests like the trial can get a verdict.

    Raises:
        ConfigError: the reply has no choice, or was cut off.
    """
    text = _content(reply)
    if text is None:
        raise ConfigError(
            f"llm_judge {judge.address} replied {json.dumps(reply)[:200]}, which has no "
            "choices[0].message; use the address of an OpenAI-compatible server, "
            "http://HOST:PORT/v1.",
            code="judge-failed",
        )
    if read_verdict(text) is not None:
        return
    if _is_truncated(reply):
        raise ConfigError(
            f"llm_judge {judge.model} gave no verdict within {_max_tokens(judge)} tokens of a "
            "trial request, including its thought; raise llm_judge_max_tokens.",
            code="judge-failed",
        )
    log(f"warning: llm_judge {judge.model} gave no verdict on a trial request: {text[:100]!r}")


def remote_judge(judge: RemoteJudge, log: Log) -> CompareFunction:
    """A judge that sends each pair to `judge`; the API key is $OPENAI_API_KEY, if set.

    A pair that the server rejects, for its length or content, has no verdict. If it rejects all
    pairs, the run stops.
    """

    def compare(pairs: Sequence[AnonymousPair]) -> list[str | None]:
        def ask(pair: AnonymousPair) -> tuple[JSON, Failure | None]:
            return _send_or_raise(judge, pair)

        ended = dict(run_together(ask, pairs, at_once=_CONCURRENT_REQUESTS))
        replies = [ended[index] for index in range(len(pairs))]
        failures = [failure for _, failure in replies if failure is not None]
        if replies and len(failures) == len(replies):
            raise TrainingError(_message(judge, failures[0]), code="judge-failed")
        verdicts = [read_verdict(_content(reply) or "") for reply, _ in replies]
        truncated = sum(
            verdict is None and _is_truncated(reply)
            for verdict, (reply, _) in zip(verdicts, replies, strict=True)
        )
        if truncated:
            log(truncation_warning(truncated, len(replies), _max_tokens(judge)))
        return verdicts

    return compare


def _send_or_raise(judge: RemoteJudge, pair: AnonymousPair) -> tuple[JSON, Failure | None]:
    """The reply, or the failure if the server rejected only this pair.

    Raises:
        TrainingError: the server does not reply, or rejects requests of any content.
    """
    reply, failure = _send(judge, pair)
    if failure is not None and failure.status not in _REQUEST_STATUSES:
        raise TrainingError(_message(judge, failure), code="judge-failed")
    return reply, failure


def _send(judge: RemoteJudge, pair: AnonymousPair) -> tuple[JSON, Failure | None]:
    message = {"role": "user", "content": judge_prompt(pair)}
    return send(judge.address, {"model": judge.model, "messages": [message], **judge.fields})


def _message(judge: RemoteJudge, failure: Failure) -> str:
    """The error message of a failure, with the key or variable to check."""
    advice = f"check the address, its model and ${KEY}"
    if failure.status in (401, 403):
        advice = f"check ${KEY}" if os.environ.get(KEY) else f"set ${KEY}"
    elif failure.status == 404:
        advice = f"check the address and llm_judge_model={judge.model}"
    elif KEY_OF_FIELD.get(failure.field) or failure.field in judge.fields:
        advice = f"change {KEY_OF_FIELD.get(failure.field) or 'llm_judge_extra_body'}"
    return f"llm_judge {judge.address}: {failure.message}; {advice}."


def _content(reply: JSON) -> str | None:
    """The text of the first choice, without a thought that the server separates.

    Empty if it is null; None if there is no choice.
    """
    message = _first_choice(reply).get("message")
    if not isinstance(message, dict) or "content" not in message:
        return None
    content = message["content"]
    if isinstance(content, list):  # parts; some of them are the thought
        content = "".join(
            str(part.get("text", ""))
            for part in content
            if isinstance(part, dict) and part.get("type") == "text"
        )
    return str(content or "")


def _is_truncated(reply: JSON) -> bool:
    return _first_choice(reply).get("finish_reason") == "length"


def _first_choice(reply: JSON) -> JSONObject:
    """`choices[0]`; empty if the reply has none."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _max_tokens(judge: RemoteJudge) -> object:
    return judge.fields.get("max_tokens", judge.fields.get("max_completion_tokens"))
