"""Responses of a model behind an OpenAI-compatible address: it samples, and is never loaded."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rlhf.data.tokenization.thoughts import split_thought, with_thought
from rlhf.errors import ConfigError, TrainingError
from rlhf.rollouts.http import NoModels, listed_models, request
from rlhf.runtime.http import Rejected
from rlhf.runtime.parallel import run_together
from rlhf.types import Prompt, Tools

AT_ONCE = 16  # requests that wait for an answer
ATTEMPTS = 5
BUSY = (429, 500, 502, 503, 504)  # statuses after which a request is repeated
NOT_ALLOWED = (401, 403)
KEY = "OPENAI_API_KEY"
EXAMPLE = "http://127.0.0.1:8000/v1"

Job = TypeVar("Job")
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model behind an address."""

    address: str  # of the API, http://HOST:PORT/v1
    model: str  # its name there


@dataclass(frozen=True, kw_only=True)
class ServedResponse:
    """One response of a server."""

    text: str  # without its thought
    thought: str
    ended: bool  # False if it was cut at the longest length
    num_tokens: int | None  # of thought and text as the server counts; None where it does not
    thought_tokens: int

    @property
    def response(self) -> str:
        """The text, with its thought, if any, in front of it."""
        return with_thought(self.thought, self.text)


def is_address(name: str) -> bool:
    """Whether a model is named by an address."""
    return name.startswith(("http://", "https://"))


def parse_served(name: str) -> ServedModel | None:
    """The model of `http://HOST:PORT/v1#MODEL`; None for a folder or hub id.

    Raises:
        ConfigError: an address without a model.
    """
    if not is_address(name):
        return None
    address, _, model = name.partition("#")
    if not model:
        raise ConfigError(
            f"{name} is an address without a model; write {address}#MODEL.", code="missing-key"
        )
    return ServedModel(address=address, model=model)


def served_models(address: str, names: Sequence[str]) -> list[ServedModel]:
    """The models of these names at the address; without names the first that the server lists.

    The key of the API is in OPENAI_API_KEY, if it needs one.

    Raises:
        ConfigError: no address, a server that cannot be reached, or that has no such model.
    """
    if not is_address(address):
        raise ConfigError(
            f"server={address} is no address; use one such as {EXAMPLE}.", code="bad-value"
        )
    listed = _listed_models(address)
    for name in names:
        if name not in listed:
            raise ConfigError(
                f"the server {address} has no model {name!r}; it has {', '.join(listed)}.",
                code="unknown-name",
            )
    return [ServedModel(address=address, model=name) for name in names or listed[:1]]


def _listed_models(address: str) -> list[str]:
    try:
        models = listed_models(address, "/models", key=os.environ.get(KEY))
    except NoModels as error:
        step = f"use its whole address, such as {EXAMPLE}"
        if error.status is None:
            step = f"start it, or {step}"
        elif error.status in NOT_ALLOWED:
            step = f"set ${KEY} to the key of the API"
        raise ConfigError(
            f"the server {address} lists no models ({error}); {step}.", code="engine-lost"
        ) from error
    return [str(each["id"]) for each in models]


def respond(
    served: ServedModel,
    prompt: Prompt,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    tools: Tools = (),
    template_kwargs: Mapping[str, object] | None = None,
) -> ServedResponse:
    """A response to the prompt; a busy server is asked again.

    Args:
        served: the model.
        prompt: a text of the user, or messages, which the server renders with its own template.
        max_new_tokens: longest response, in tokens.
        temperature: 0 is greedy.
        seed: responses of one seed are alike where the server keeps to it.
        tools: functions that the model may call.
        template_kwargs: variables of the chat template, for vLLM and `rlhf serve`.

    Raises:
        TrainingError: the server was lost, rejects the request, or answers something else.
    """
    messages: Sequence[Mapping[str, object]] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    )
    content: dict[str, object] = {
        "model": served.model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": 1.0,  # or a server takes it from the model's generation_config
        "seed": seed,
    }
    content |= {"tools": tools} if tools else {}
    content |= {"chat_template_kwargs": template_kwargs} if template_kwargs else {}
    answer = _answer(served, content)
    try:
        return _read(answer)
    except (LookupError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"the server {served.address} answers without choices[0].message; use the address of "
            "an OpenAI-compatible server, http://HOST:PORT/v1.",
            code="engine-mismatch",
        ) from error


def respond_together(
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    advance: Callable[[int], object] = lambda count: None,
) -> list[Done]:
    """The results of jobs that call `respond`, AT_ONCE at a time, as in `run_together`."""
    ended = dict(run_together(work, jobs, at_once=AT_ONCE, advance=advance))
    return [ended[index] for index in range(len(jobs))]


def _answer(served: ServedModel, content: Mapping[str, object]) -> Any:
    for attempt in range(ATTEMPTS):
        try:
            return request(
                served.address, "/chat/completions", content, timeout=None, key=os.environ.get(KEY)
            )
        except Rejected as error:
            if error.status not in BUSY or attempt + 1 == ATTEMPTS:
                raise TrainingError(
                    f"the server {served.address} rejects a request to {served.model}: {error}; "
                    f"{_next_step(error.status)}.",
                    code="engine-lost",
                ) from error
        time.sleep(2.0**attempt)
    raise AssertionError("not reached")


def _next_step(status: int) -> str:
    """What to do after a request was rejected with this status."""
    if status in NOT_ALLOWED:
        return f"set ${KEY} to the key of the API"
    if status in BUSY:
        return f"it was asked {ATTEMPTS} times; see its log, and repeat the command later"
    return "change what the server names: most often the lengths, another setting or the prompt"


def _read(answer: Any) -> ServedResponse:
    choice = answer["choices"][0]
    message = choice["message"]
    text = str(message["content"] or "")
    thought = str(message.get("reasoning_content") or message.get("reasoning") or "")
    if not thought:
        thought, text = split_thought(text)
    usage = answer.get("usage") or {}
    details = usage.get("completion_tokens_details") or {}
    return ServedResponse(
        text=text,
        thought=thought.strip(),
        ended=choice.get("finish_reason") != "length",
        num_tokens=usage.get("completion_tokens"),
        thought_tokens=int(details.get("reasoning_tokens") or 0) if thought else 0,
    )
