"""A reward from an LLM judge: behind an OpenAI-compatible address, or loaded on this machine."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rlhf.errors import ConfigError
from rlhf.manifest import hash_file
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_policy, on_device
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.rewards.case import Case, NoScore, cases_of
from rlhf.rewards.concurrent import AsyncScorer, in_threads
from rlhf.rewards.function import RewardFunction
from rlhf.rewards.http import request_json
from rlhf.rewards.judge_file import JudgeFile, judge_path, read_judge
from rlhf.rewards.judge_prompts import (
    compare_prompts,
    compared_score,
    read_choice,
    read_score,
    score_prompt,
)
from rlhf.rewards.options import CallOptions
from rlhf.types import Prompt

KEY = "OPENAI_API_KEY"
TRIAL_SECONDS = 600.0  # a reasoning model takes minutes
AT_ONCE = 16  # replies that a local judge samples at a time
TRIAL = Case(prompt="What is 2 + 2?", response="2 + 2 is 4.", columns={})

Ask = Callable[[str], str]
"""The judge's reply to a text; raises `NoScore`."""


def load_judge(source: str, options: CallOptions) -> AsyncScorer:
    """The scorer of `judge:FILE` whose judge is behind an address.

    Raises:
        ConfigError: see `read_judge`.
    """
    return load_remote_judge_file(read_judge(source), options, hash_file(judge_path(source)))


def load_remote_judge_file(judge: JudgeFile, options: CallOptions, digest: str) -> AsyncScorer:
    """The scorer of a judge behind an address; `digest` is a hash of its settings."""
    assert judge.is_remote

    def score(cases: Sequence[Case]) -> object:
        return [judged(judge, case, lambda text: ask(judge, text, options.timeout))
                for case in cases]  # fmt: skip

    return AsyncScorer(score=in_threads(score), identity=f"judge {digest}")


def load_local_judge(
    source: str, *, device: torch.device | str, bf16: bool = False
) -> RewardFunction:
    """The function of `judge:FILE` whose judge is a folder or hub id. It loads the model now.

    `device` and `bf16` are those of `load_local_judge_file`.

    Raises:
        ConfigError: see `read_judge`.
        CheckpointError: nothing that loads as a language model.
    """
    return load_local_judge_file(read_judge(source), device=device, bf16=bf16)


def load_local_judge_file(
    judge: JudgeFile, *, device: torch.device | str, bf16: bool = False
) -> RewardFunction:
    """The function of a judge that is a folder or hub id. It loads the model now.

    Args:
        judge: the settings.
        device: where the model computes.
        bf16: whether its weights are in bfloat16 instead of float32.

    Raises:
        CheckpointError: nothing that loads as a language model.
    """
    chat = tokenizer_of_model(judge.judge, "auto")
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = on_device(load_policy(judge.judge, dtype=dtype), torch.device(device))

    def replies(texts: Sequence[str]) -> dict[str, str]:
        distinct = list(dict.fromkeys(texts))
        sampled = sample_responses(
            model,
            chat,
            distinct,
            num_responses=1,
            max_new_tokens=judge.max_tokens,
            temperature=judge.temperature,
            seed=0,
            batch_size=AT_ONCE,
        )
        return {text: reply.text for text, [reply] in zip(distinct, sampled, strict=True)}

    def judge_responses(
        prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Sequence[object]
    ) -> list[float | None]:
        texts = [one if isinstance(one, str) else str(one[-1]["content"]) for one in completions]
        rows = [{name: values[row] for name, values in columns.items()}
                for row in range(len(texts))]  # fmt: skip
        cases = cases_of(prompts, texts, rows)
        answers = replies([text for case in cases for text in _texts(judge, case)])
        return [_value_or_none(judge, case, answers.__getitem__) for case in cases]

    return judge_responses


def check_judge(source: str) -> None:
    """Check the file, and that the judge scores a trial response, before hours of sampling.

    Raises:
        ConfigError: see `read_judge`; a judge that cannot be reached, rejects the request, or
            gives no score on the scale.
        CheckpointError: no such local model.
    """
    check_judge_file(read_judge(source), source)


def check_judge_file(judge: JudgeFile, source: str) -> None:
    """Check that a judge scores a trial response; `source` is what messages call its settings.

    Raises:
        ConfigError: it cannot be reached, rejects the request, or gives no score on the scale.
        CheckpointError: no such local model.
    """
    if not judge.is_remote:
        load_checked_tokenizer(judge.judge, "auto")
        return
    trial = TRIAL
    if judge.compare_with:
        trial = Case(prompt=TRIAL.prompt, response=TRIAL.response,
                     columns={judge.compare_with: "It is 5."})  # fmt: skip
    try:
        judged(judge, trial, lambda text: ask(judge, text, TRIAL_SECONDS))
    except NoScore as error:
        raise ConfigError(
            f"{source}: {str(error).rstrip('.')}; check its judge, model and fields, and "
            f"${KEY}{'' if os.environ.get(KEY) else ', which is not set'}.",
            code="judge-failed",
        ) from error


def judged(judge: JudgeFile, case: Case, reply_to: Ask) -> float:
    """The judge's score of a case.

    Raises:
        NoScore: no reply, or one without a score on the scale.
    """
    texts = _texts(judge, case)
    if judge.compare_with and not texts:  # equal responses
        return (judge.low + judge.high) / 2
    if not judge.compare_with:
        reply = reply_to(texts[0])
        score = read_score(reply, judge.low, judge.high)
        if score is None:
            raise NoScore(
                f"the judge gave no score from {judge.low:g} to {judge.high:g}: {reply[-120:]!r}"
            )
        return score
    replies = [reply_to(text) for text in texts]
    choices = [read_choice(reply) for reply in replies]
    for choice, reply in zip(choices, replies, strict=True):
        if choice is None:
            raise NoScore(f"the judge gave no verdict A, B or C: {reply[-120:]!r}")
    return compared_score(str(choices[0]), str(choices[1]), judge.low, judge.high)


def ask(judge: JudgeFile, text: str, timeout: float) -> str:
    """The reply of a judge behind an address; a thought that the server separates is left out.

    Raises:
        NoScore: no reply, or one of another form.
    """
    body: dict[str, object] = {
        "model": judge.model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": judge.max_tokens,
        "temperature": judge.temperature,
        **judge.fields,
    }
    content = {name: value for name, value in body.items() if value is not None}
    address = f"{judge.judge.rstrip('/')}/chat/completions"
    answer = request_json(address, content, timeout=timeout, key=KEY)
    try:
        choice = answer["choices"][0]
        reply = choice["message"]["content"] or ""
    except (KeyError, TypeError, IndexError) as error:
        raise NoScore(f"{address} answered {str(answer)[:200]!r}, which has no reply") from error
    if isinstance(reply, list):  # parts; some of them are the thought
        reply = "".join(str(part.get("text", "")) for part in reply if part.get("type") == "text")
    if choice.get("finish_reason") == "length":
        raise NoScore(f"the judge's reply was cut off after {judge.max_tokens} tokens; raise "
                      "max_tokens")  # fmt: skip
    return str(reply)


def _texts(judge: JudgeFile, case: Case) -> Sequence[str]:
    """What the judge reads about a case: a text, two for both orders, or none for equal texts.

    Raises:
        NoScore: the row has no response to compare with.
    """
    if not judge.compare_with:
        return [score_prompt(judge, case)]
    other = case.columns.get(judge.compare_with)
    if not isinstance(other, str):
        raise NoScore(f"the row has no text in the column {judge.compare_with}")
    return [] if other == case.text else compare_prompts(judge, case, other)


def _value_or_none(judge: JudgeFile, case: Case, reply_to: Ask) -> float | None:
    try:
        return judged(judge, case, reply_to)
    except NoScore:
        return None
