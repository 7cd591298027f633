"""The report on a reward model before PPO: computed, printed, written.

evaluation.json has all metrics as `results`, the reliability curve and the best-of-N curve;
gate.json next to it has the verdict of the gate. `rlhf report` draws them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlhf.evaluation.core.metric_table import metric_table
from rlhf.evaluation.core.results import Result, detects_text, result_of, write_results
from rlhf.evaluation.reward_model.best_of_n import BestOfN, best_of_n
from rlhf.evaluation.reward_model.calibration import Bin, reliability
from rlhf.evaluation.reward_model.gate import GATE, Gate, judge_reward_model
from rlhf.evaluation.reward_model.metrics import reward_metrics
from rlhf.evaluation.reward_model.probes import Probe, probe
from rlhf.evaluation.reward_model.scored_rankings import ScoringModel, score_rankings
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import plain_console
from rlhf.types import Demonstration, Ranking

KIND = "reward_model"  # field of evaluation.json that tells it from an evaluation of policies


@dataclass(frozen=True, kw_only=True)
class RewardReport:
    """All metrics of a reward model, and the verdict."""

    results: Sequence[Result]
    reliability: Sequence[Bin]
    best_of_n: Sequence[BestOfN]
    gate: Gate


def make_report(
    model: ScoringModel,
    rankings: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    *,
    name: str,
    num_demonstrations: int,
    seed: int,
    trained_on: int = 0,
    losses: Mapping[int, float] | None = None,
    are_logits: bool = True,
) -> RewardReport:
    """The report on held-out rankings. Call it on every process; it is complete on each.

    Args:
        model: the reward model.
        rankings: held-out rankings.
        demonstrations: for the probes; can be empty.
        name: of the model in the results.
        num_demonstrations: demonstrations to score.
        seed: for the draw of demonstrations and the shuffling.
        trained_on: number of rankings with prompts that the model was trained on.
        losses: held-out loss by optimizer step, from the training; None if unknown.
        are_logits: whether σ(difference) of two scores is a probability, so that their calibration
            can be measured.
    """
    scored = score_rankings(model, rankings)
    probes = probe(model, demonstrations, count=num_demonstrations, seed=seed)
    results = [*reward_metrics(scored, name, are_logits=are_logits), *results_of(probes, name)]
    curve = best_of_n(scored, mean=model.mean, std=model.std)
    return RewardReport(
        results=results,
        reliability=reliability(scored) if are_logits else [],
        best_of_n=curve,
        gate=judge_reward_model(results, curve, trained_on=trained_on, losses=losses),
    )


def write_reward_report(folder: Path, report: RewardReport) -> None:
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
    """Print the table of metrics, the best-of-N curve and the verdict."""
    console = plain_console()
    console.print(metric_table(report.results, title, "metric"))
    for point in report.best_of_n:
        console.print(
            f"best of {point.n}: reward {point.reward:.2f} [{point.reward_low:.2f}, "
            f"{point.reward_high:.2f}], detects {detects_text(point.reward_mde)}; preferred by "
            f"annotators to {point.people:.2f} [{point.people_low:.2f}, {point.people_high:.2f}] "
            f"of the others, detects {detects_text(point.people_mde)}; KL at most "
            f"{point.kl_bound:.2f} nats"
        )
    console.print(f"gate: {report.gate.verdict}", *report.gate.reasons, sep="\n  ")


def results_of(probes: Sequence[Probe], model: str) -> list[Result]:
    """The probes as results of `model`."""
    results = []
    for one in probes:
        for metric, estimate in (
            ("score", one.score),
            ("demonstrations_above", one.demonstrations_above),
        ):
            if estimate is not None:
                results.append(result_of(estimate, metric, model, axis=one.name))
    return results
