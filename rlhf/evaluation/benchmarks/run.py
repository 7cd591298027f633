"""A reward or judge on a benchmark: judged, printed, written."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rlhf.errors import ConfigError
from rlhf.evaluation.benchmarks.benchmark import BENCHMARKS
from rlhf.evaluation.benchmarks.case import BenchmarkCase, JudgedCase
from rlhf.evaluation.benchmarks.config import BenchmarkConfig, BenchmarkName
from rlhf.evaluation.benchmarks.implicit import implicit_reward, implicit_scores
from rlhf.evaluation.benchmarks.pairwise import judge_cases, order_decides
from rlhf.evaluation.benchmarks.rules import SCORE
from rlhf.evaluation.benchmarks.scoring import ScoredCases, reward_scores, score_cases
from rlhf.evaluation.core.metric_table import metric_table
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.judges.llm import is_address, local_judge
from rlhf.evaluation.judges.pairwise import CompareFunction
from rlhf.evaluation.judges.remote import RemoteJudge, adapt_to_server, remote_judge
from rlhf.manifest import write_atomically
from rlhf.rewards.templates import JudgeTemplate
from rlhf.runtime.printing import counted, plain_console

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """The table of a reward or judge on a benchmark, and what it is made of."""

    benchmark: BenchmarkName
    judge: str  # its name or path
    results: Sequence[Result]
    judged: Sequence[JudgedCase]
    unscored: int = 0  # responses without a score
    order_decides: float | None = None  # share of the pairs on which the order decides

    @property
    def content(self) -> dict[str, object]:
        """The report as an object of JSON."""
        fields = ("metric", "model", "subset", "value", "low", "high", "n", "mde")
        rows = [{name: getattr(result, name) for name in fields} for result in self.results]
        return {
            "benchmark": self.benchmark,
            "judge": self.judge,
            "cases": len(self.judged),
            "unscored": self.unscored,
            "order_decides": self.order_decides,
            "results": rows,
        }


def chosen_cases(
    cases: Sequence[BenchmarkCase], at_most: int | None, seed: int
) -> list[BenchmarkCase]:
    """At most so many cases, drawn by seed, in their order. Cases of one group stay together."""
    if at_most is None or at_most >= len(cases):
        return list(cases)
    sizes = Counter(case.group for case in cases)
    groups = list(sizes)
    random.Random(seed).shuffle(groups)
    kept, count = set(), 0
    for group in groups:
        if count + sizes[group] <= at_most:
            kept.add(group)
            count += sizes[group]
    return [case for case in cases if case.group in kept]


def judge_benchmark(
    cases: Sequence[BenchmarkCase],
    config: BenchmarkConfig,
    reward: str | None,
    template: JudgeTemplate,
    *,
    seed: int,
    device: torch.device,
    log: Log,
) -> BenchmarkReport:
    """The report of the reward, the policy or the judge that the keys name.

    Args:
        cases: of the benchmark.
        config: the benchmark and who is measured.
        reward: a source of rewards, if neither a policy nor a judge is measured.
        template: the chat template of the reward model or policy.
        seed: of the intervals.
        device: where models compute.
        log: called with warnings.

    Raises:
        ConfigError: a judge of pairs on a benchmark that needs scores, or a policy without a
            reference.
        CheckpointError: a model that does not load.
        TrainingError: a reward or judge that failed.
    """
    assert config.benchmark is not None
    order = None
    if config.llm_judge is not None:
        name = config.llm_judge_model or config.llm_judge
        judged = ScoredCases(judged=_compared(cases, config, device, log), unscored=0)
        order = order_decides(judged.judged)
    elif config.policy is not None:
        name, judged = config.policy, _by_policy(cases, config, template, device)
    else:
        assert reward is not None
        name = reward
        score = reward_scores(
            name,
            template,
            batch_size=config.per_device_eval_batch_size,
            bf16=config.bf16,
            device=device,
        )
        judged = score_cases(cases, score)
    rows = BENCHMARKS[config.benchmark].rule(judged.judged, seed)
    results = [
        replace(result_of(row.estimate, row.metric, name), subset=row.subset) for row in rows
    ]
    return BenchmarkReport(
        benchmark=config.benchmark,
        judge=name,
        results=results,
        judged=judged.judged,
        unscored=judged.unscored,
        order_decides=order,
    )


def write_benchmark(folder: Path, report: BenchmarkReport, data: dict[str, str]) -> Path:
    """Write `NAME.json` with the table and `NAME_cases.jsonl` with every case; the first's path.

    Args:
        folder: the output folder.
        report: the report.
        data: SHA-256 of each file of the benchmark, by its path.
    """
    lines = [json.dumps(_case(one), ensure_ascii=False) for one in report.judged]
    name = f"{report.benchmark}_cases.jsonl"
    write_atomically(folder / name, "".join(f"{line}\n" for line in lines))
    path = folder / f"{report.benchmark}.json"
    content = {**report.content, "data": data}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def print_benchmark(report: BenchmarkReport, log: Log) -> None:
    """Print the table, and what limits its meaning."""
    title = f"{report.benchmark}: {report.judge}, {counted(len(report.judged), 'case')}"
    plain_console().print(metric_table(report.results, title))
    if not any(result.metric == SCORE and result.subset is None for result in report.results):
        log("no score: a part of it has no case, or there are fewer than two prompts")
    if report.unscored:
        log(f"{counted(report.unscored, 'response')} without a score: their cases count as wrong")
    if report.order_decides is not None:
        log(f"the order of the responses decides {report.order_decides:.0%} of the pairs")


def _by_policy(
    cases: Sequence[BenchmarkCase],
    config: BenchmarkConfig,
    template: JudgeTemplate,
    device: torch.device,
) -> ScoredCases:
    assert config.policy is not None
    reward = implicit_reward(config.policy, config.reference, config.per_token)
    return score_cases(
        cases,
        lambda prompts, responses: implicit_scores(
            reward, prompts, responses, template=template, device=device
        ),
    )


def _compared(
    cases: Sequence[BenchmarkCase], config: BenchmarkConfig, device: torch.device, log: Log
) -> list[JudgedCase]:
    assert config.llm_judge is not None
    assert config.benchmark is not None
    if not BENCHMARKS[config.benchmark].by_pairs:
        raise ConfigError(
            f"benchmark={config.benchmark} compares the scores of many responses, and llm_judge "
            "compares two; score them with reward_model=judge:FILE.yaml.",
            code="key-conflict",
        )
    return judge_cases(cases, _compare_function(config, config.llm_judge, device, log))


def _compare_function(
    config: BenchmarkConfig, judge: str, device: torch.device, log: Log
) -> CompareFunction:
    if is_address(judge):
        fields = {"max_tokens": config.llm_judge_max_tokens, "temperature": 0.0}
        remote = RemoteJudge(address=judge, model=config.llm_judge_model, fields=fields)
        return remote_judge(adapt_to_server(remote, log), log)
    return local_judge(
        judge,
        max_new_tokens=config.llm_judge_max_tokens,
        temperature=0.0,
        batch_size=config.per_device_eval_batch_size,
        device=device,
        bf16=config.bf16,
        log=log,
    )


def _case(one: JudgedCase) -> dict[str, object]:
    """A case as a line of NAME_cases.jsonl: scores or verdicts, the better responses first."""
    line: dict[str, object] = {
        "id": one.case.id,
        "subset": one.case.subset,
        "num_better": one.case.num_better,
    }
    if one.verdicts:
        line["verdicts"] = [
            {"pair": list(pair), "better_first": first, "worse_first": second}
            for pair, (first, second) in one.verdicts.items()
        ]
    else:
        line["scores"] = list(one.scores)
    return line
