"""A language model as judge: a local one, or any address that speaks OpenAI's chat API."""

import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from rlhf.data.chat import as_messages, prompt_ids
from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.pairwise import FIRST, SECOND, TIE, Judging, Shown
from rlhf.models.generate import sample_answers
from rlhf.models.load import load_policy
from rlhf.models.tokenizer import tokenizer_of_model

KEY = "OPENAI_API_KEY"
QUESTION = """Two assistants answered the same user. Decide which answer is better: does it do \
what was asked, is it true, is it kind? Longer is not better. The order of the answers means \
nothing.

[Conversation]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

End with your verdict on a line of its own: [[A]], [[B]], or [[C]] for a tie."""
_MARK = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_MARK_ALONE = re.compile(rf"\W*{_MARK.pattern}\W*")
_WORD = re.compile(r"\W*(A|B|C|tie)\W*", re.IGNORECASE)
_MEANS = {"A": FIRST, "B": SECOND, "C": TIE, "TIE": TIE}
_RETRIES = 4
_AT_ONCE = 8  # questions in flight at an address
_OF_THIS_QUESTION = (400, 413, 422)  # statuses that say: too long, or not allowed


def question_of(shown: Shown) -> str:
    """What the judge is asked."""
    turns = as_messages(shown.prompt)
    said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return QUESTION.format(prompt=said, first=shown.first, second=shown.second)


def read_verdict(reply: str) -> str | None:
    """first, second or tie of [[A]], [[B]] or [[C]], or of a reply of that word alone.

    Of several that differ the last counts if it is alone on the last line, as was asked for: a
    judge that thinks aloud names others before. None for any other reply: a guess would be worse
    than a tie.
    """
    marks = _MARK.findall(reply)
    last = reply.strip().rpartition("\n")[2]
    if alone := _MARK_ALONE.fullmatch(last):
        return _MEANS[alone.group(1)]
    if marks:
        return _MEANS[marks[-1]] if len(set(marks)) == 1 else None
    alone = _WORD.fullmatch(reply.strip())
    return _MEANS[alone.group(1).upper()] if alone else None


def is_address(judge: str) -> bool:
    """Whether the judge is asked over HTTP."""
    return judge.startswith(("http://", "https://"))


def local_judge(
    path: str, *, max_new_tokens: int, batch_size: int, device: torch.device
) -> Judging:
    """A model of this machine, asked in its own chat template, greedily.

    A question longer than the model's positions has no verdict.

    Raises:
        CheckpointError: no model at `path`.
    """
    chat = tokenizer_of_model(path, "auto")
    model: Any = load_policy(path)
    model = model.to(device).eval()

    def judge(shown: Sequence[Shown]) -> list[str | None]:
        questions = [question_of(one) for one in shown]
        room = (chat.max_positions or sys.maxsize) - max_new_tokens
        fits = [index for index, q in enumerate(questions) if len(prompt_ids(chat, q)) <= room]
        answers = sample_answers(
            model,
            chat,
            [questions[index] for index in fits],
            num_responses=1,
            max_new_tokens=max_new_tokens,
            temperature=0.0,
            seed=0,
            batch_size=batch_size,
        )
        said: list[str | None] = [None] * len(shown)
        for index, answer in zip(fits, answers, strict=True):
            said[index] = read_verdict(answer[0].text)
        return said

    return judge


def remote_judge(address: str, name: str, *, max_new_tokens: int) -> Judging:
    """The model `name` behind `address` (…/v1), greedily; the key is $OPENAI_API_KEY, if any.

    A question that it refuses, for its length or content, has no verdict; all of them refused is
    a mistake in what was asked for.
    """

    def judge(shown: Sequence[Shown]) -> list[str | None]:
        def ask(one: Shown) -> tuple[Any, str]:
            body = {
                "model": name,
                "messages": [{"role": "user", "content": question_of(one)}],
                "temperature": 0,
                "max_tokens": max_new_tokens,
            }
            return _post(f"{address.rstrip('/')}/chat/completions", body)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            replies = list(pool.map(ask, shown))
        if replies and all(refused for _, refused in replies):
            raise _failed(address, replies[0][1])
        return [read_verdict(_content(reply)) for reply, _ in replies]

    return judge


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers, before models are asked for hours.

    Any reply to GET …/models will do, a refusal too: what the judge can, a question shows.

    Raises:
        ConfigError: no connection, or what answers does not speak HTTP.
    """
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/models", headers=_headers())
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        fault = getattr(error, "reason", error)
        raise ConfigError(
            f"llm_judge {address} does not answer: {fault}; start it, or give its address as "
            "http://HOST:PORT/v1."
        ) from error


def _post(address: str, body: dict[str, Any]) -> tuple[Any, str]:
    """The reply and "", or None and why this question was refused.

    Tried again after too many requests, a server's fault or no connection.

    Raises:
        TrainingError: it does not answer, or refuses everybody.
    """
    request = urllib.request.Request(address, json.dumps(body).encode(), _headers())
    for attempt in range(_RETRIES):
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return json.load(reply), ""
        except urllib.error.HTTPError as error:
            said = error.read(300).decode("utf-8", "replace").strip()
            fault = f"{error.code} {error.reason} {said}".strip()
            if error.code in _OF_THIS_QUESTION:
                return None, fault
            if error.code < 500 and error.code != 429:
                break
        except (OSError, ValueError, http.client.HTTPException) as error:
            fault = str(getattr(error, "reason", error))
        if attempt + 1 < _RETRIES:
            time.sleep(2**attempt)
    raise _failed(address, fault)


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )


def _failed(address: str, fault: str) -> TrainingError:
    return TrainingError(f"llm_judge {address}: {fault}; check the address, its model and ${KEY}.")


def _content(reply: Any) -> str:
    """The text of the first choice; empty, and so unparsable, where there is none."""
    try:
        return str(reply["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        return ""
