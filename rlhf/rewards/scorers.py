"""Sources that are no reward models, loaded: functions, servers, judges and verifiers."""

import inspect
from collections.abc import Sequence
from pathlib import Path

import torch

from rlhf.errors import ConfigError
from rlhf.manifest import hash_file
from rlhf.rewards.cache import ScoreCache
from rlhf.rewards.case import Case
from rlhf.rewards.concurrent import AsyncScorer
from rlhf.rewards.function import RewardFunction, call_function, check_columns
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.http_shapes import Texts
from rlhf.rewards.judge import check_judge, load_judge, load_local_judge
from rlhf.rewards.judge_file import read_judge
from rlhf.rewards.options import CallOptions
from rlhf.rewards.server import check_server, load_server
from rlhf.rewards.spec import RewardSpec
from rlhf.rewards.verifiers.load import check_verifier_rows, load_verifier
from rlhf.types import PromptRow

TRIAL_RESPONSE = "4"


def load_scorer(
    spec: RewardSpec,
    options: CallOptions,
    texts: Texts | None,
    *,
    device: torch.device | str,
    bf16: bool = False,
) -> RewardFunction | AsyncScorer:
    """The scorer of a source that is no reward model.

    Args:
        spec: the source.
        options: limits of calls, and whether programs of responses may run.
        texts: how conversations become texts; None where no chat template is known.
        device: where a local judge or a generative reward model computes.
        bf16: whether it computes in bf16.

    Raises:
        ConfigError: a source that does not load or cannot be reached.
        CheckpointError: no such local judge.
    """
    if spec.kind == "server":
        return load_server(str(spec.source), options, texts)
    if spec.kind == "verifier":
        return load_verifier(str(spec.source), options)
    if spec.kind == "judge":
        source = str(spec.source)
        if read_judge(source).is_remote:
            return load_judge(source, options)
        return load_local_judge(source, device=device, bf16=bf16)
    function = spec.function()
    if isinstance(function, GenerativeReward):
        function.use(device, bf16=bf16)
    return _async_scorer(spec, function) if is_async(function) else function


def is_async(function: RewardFunction) -> bool:
    """Whether calls of the function have to be awaited."""
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object with an async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _async_scorer(spec: RewardSpec, function: RewardFunction) -> AsyncScorer:
    """An async function is called for one response at a time, as lists of one."""

    async def score(cases: Sequence[Case]) -> object:
        called = call_function(
            function,
            [case.prompt for case in cases],
            [case.response for case in cases],
            [case.columns for case in cases],
        )
        assert inspect.isawaitable(called)
        return await called

    identity = None
    if isinstance(spec.source, str):  # the content of the file, so that an edit counts
        file = Path(spec.source.rpartition(":")[0])
        identity = f"{spec.source} {hash_file(file)}"
    return AsyncScorer(score=score, identity=identity)


def check_source(
    spec: RewardSpec, options: CallOptions, texts: Texts | None, rows: Sequence[PromptRow]
) -> None:
    """Check a source that is no reward model, before the first rollout.

    A server or judge is sent one request with a trial response; the first of `rows` is its prompt.

    Args:
        spec: the source.
        options: as in `load_scorer`.
        texts: as in `load_scorer`.
        rows: prompts that will be scored, with the columns that functions and verifiers read.

    Raises:
        ConfigError: a source that does not load, cannot be reached, gives no number, or reads a
            column that the rows have not.
        CheckpointError: no such local judge.
    """
    source = str(spec.source)
    if spec.kind == "function":
        check_columns(spec.function(), spec.name, {name for row in rows for name in row.columns})
    elif spec.kind == "server":
        prompt, columns = rows[0].prompt, rows[0].columns
        case = Case(prompt=prompt, response=TRIAL_RESPONSE, columns=columns)
        check_server(source, case, texts)
    elif spec.kind == "verifier":
        load_verifier(source, options)
        check_verifier_rows(source, rows)
    elif spec.kind == "judge":
        check_judge(source)
        _check_compared(source, rows)


def _check_compared(source: str, rows: Sequence[PromptRow]) -> None:
    """Check that every row has the response that a judge compares with."""
    column = read_judge(source).compare_with
    for number, row in enumerate(rows, start=1):
        if column and not isinstance(row.columns.get(column), str):
            raise ConfigError(
                f"reward {source} compares with the column {column}, which row {number} of the "
                f"prompts ({str(row.prompt)[:60]!r}) has not as a text; add it, or change "
                "compare_with.",
                code="bad-reward",
            )


def check_options(
    specs: Sequence[RewardSpec], options: CallOptions, changed: Sequence[str]
) -> None:
    """Check that keys of calls have a source that reads them, and that the cache can be used.

    Args:
        specs: the sources of the reward.
        options: the keys' values.
        changed: the keys with another value than their default.

    Raises:
        ConfigError: no source is called over a network, asynchronously, or as a program; a cache
            for functions without a name, or in a file that cannot be used.
    """
    called = [spec for spec in specs if _is_called(spec)] if changed else []
    if changed and not called:
        raise ConfigError(
            f"{changed[0]} is for servers, judges, async functions and verifier:code, but the "
            f"reward has none ({', '.join(spec.name for spec in specs)}); leave it out.",
            code="key-conflict",
        )
    if options.cache is None:
        return
    if not any(isinstance(spec.source, str) for spec in called):
        raise ConfigError(
            f"reward_cache={options.cache} stores no scores of a function without a name, whose "
            "code may change; write it as file.py:function, or leave the key out.",
            code="key-conflict",
        )
    ScoreCache(options.cache).close()


def _is_called(spec: RewardSpec) -> bool:
    """Whether the source is scored by calls with limits."""
    if spec.kind == "function":
        return is_async(spec.function())
    if spec.kind == "judge":
        return read_judge(str(spec.source)).is_remote
    return spec.kind == "server" or spec.runs_code
