"""The health of a reward model before a GPU-day is spent on it: printed, saved, drawn.

evaluation.json holds every figure as `results`, the reliability curve, the best-of-N curve; the
gate's verdict lies beside it in gate.json. `rlhf report` draws them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from rlhf.evaluation.core.results import Result, number, result_of, write_results
from rlhf.evaluation.reward_model.best_of_n import BestOfN, best_of_n
from rlhf.evaluation.reward_model.calibration import Bin, reliability
from rlhf.evaluation.reward_model.gate import GATE, Gate, judge_reward_model
from rlhf.evaluation.reward_model.metrics import reward_metrics
from rlhf.evaluation.reward_model.probes import Probe, probe
from rlhf.evaluation.reward_model.scored_rankings import score_rankings
from rlhf.manifest import write_atomically
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import plain_console
from rlhf.types import Demonstration, Ranking

KIND = "reward_model"  # of an evaluation.json: what it is about


@dataclass(frozen=True, kw_only=True)
class RewardReport:
    """Everything that is said of a reward model."""

    results: Sequence[Result]
    reliability: Sequence[Bin]
    best_of_n: Sequence[BestOfN]
    gate: Gate


def make_report(
    model: RewardModel,
    rankings: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    *,
    name: str,
    num_demonstrations: int,
    seed: int,
    trained_on: int = 0,
) -> RewardReport:
    """The report on held-out rankings and on demonstrations (may be none). Call it on every
    process; it is complete on each.

    trained_on: of the rankings, how many are of prompts that the model was trained on.
    """
    scored = score_rankings(model, rankings)
    probes = probe(model, demonstrations, count=num_demonstrations, seed=seed)
    results = [*reward_metrics(scored, name), *_results_of(probes, name)]
    curve = best_of_n(scored, mean=model.mean, std=model.std)
    return RewardReport(
        results=results,
        reliability=reliability(scored),
        best_of_n=curve,
        gate=judge_reward_model(results, curve, trained_on=trained_on),
    )


def write_report_of_rewards(folder: Path, report: RewardReport) -> None:
    """Write `folder/evaluation.json` and `folder/gate.json`."""
    curves = {
        "reliability": [asdict(one) for one in report.reliability],
        "best_of_n": [asdict(one) for one in report.best_of_n],
    }
    write_results(folder, report.results, {"kind": KIND, **curves})
    write_gate(folder / GATE, report.gate)


def write_gate(path: Path, gate: Gate) -> None:
    """The verdict as JSON."""
    write_atomically(path, json.dumps(asdict(gate), indent=2, ensure_ascii=False) + "\n")


def print_report(report: RewardReport, title: str) -> None:
    """The table of figures, the two curves in a line each, the verdict."""
    console = plain_console()
    table = Table("figure", "value [95%]", "prompts", title=title, title_justify="left")
    for result in report.results:
        cell = f"{number(result.value)} [{number(result.low)}, {number(result.high)}]"
        table.add_row(label_of(result), cell, str(result.n))
    console.print(table)
    for point in report.best_of_n:
        console.print(
            f"best of {point.n}: reward {point.reward:.2f}, people put it above "
            f"{point.people:.2f} of the others, KL at most {point.kl_bound:.2f} nats"
        )
    console.print(f"gate: {report.gate.verdict}", *report.gate.reasons, sep="\n  ")


def label_of(result: Result) -> str:
    """`accuracy, annotator Ann`, `demonstrations above: shuffled words`."""
    words = result.metric.replace("_", " ")
    words = f"{words}: {result.axis}" if result.axis else words
    return f"{words}, {result.subset}" if result.subset else words


def _results_of(probes: Sequence[Probe], model: str) -> list[Result]:
    found = []
    for one in probes:
        for metric, estimate in (
            ("score", one.score),
            ("demonstrations_above", one.demonstrations_above),
        ):
            if estimate is not None:
                found.append(result_of(estimate, metric, model, axis=one.name))
    return found
