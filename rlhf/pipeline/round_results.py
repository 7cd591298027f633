"""Results over rounds: proxy against gold, Bradley-Terry over rounds, and when to stop."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlhf.evaluation.core.records import RECORDS_FILE, read_records
from rlhf.evaluation.core.results import Result, find, read_results
from rlhf.evaluation.judges.scoring import GOLD, REWARD_MODEL
from rlhf.evaluation.reward_model.gate import GATE
from rlhf.manifest import write_atomically
from rlhf.pipeline.join_labels import COUNTS
from rlhf.pipeline.label_stage import HELD_OUT, TRAIN
from rlhf.pipeline.round_comparison import (
    SFT,
    Comparison,
    Interval,
    Strength,
    compare,
    gap_of,
    interval_of,
    strengths_of,
)
from rlhf.pipeline.rounds import FIRST, align_folder
from rlhf.pipeline.stages import policies
from rlhf.runtime.json_numbers import finite_or_null

ROUNDS = "rounds.json"


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """What a round's evaluation measured. Win rates are against SFT, on held-out prompts."""

    round: int
    folder: str  # in output_dir
    new_rankings: int
    train_rankings: int  # of all rounds so far
    accuracy: Interval | None  # of the reward model on held-out rankings
    proxy: Interval | None  # win rate by the reward model that PPO was trained on
    gold: Interval | None  # win rate by the gold score
    gap: Interval | None  # proxy - gold, paired by prompt
    kl: Interval | None  # from SFT, nats per response
    length: Interval | None  # tokens
    comparison: Comparison | None  # None for round 1, and without a gold score


@dataclass(frozen=True, kw_only=True)
class RoundResults:
    """The content of rounds.json."""

    rounds: Sequence[RoundResult]
    strengths: Sequence[Strength]  # by the judges of the last evaluation
    best: int  # round of the policy to use
    stopped: str  # why no further round was run; "" if the rule did not stop


def round_results(root: Path, number: int, *, patience: int, seed: int) -> RoundResults:
    """The results of rounds 1 to `number`, whose evaluations are complete.

    Args:
        root: the pipeline's folder.
        number: of the last round.
        patience: rounds in a row without improvement after which to stop; 0 for never.
        seed: of the bootstrap.
    """
    rounds = [result_of_round(root, each, seed=seed) for each in range(FIRST, number + 1)]
    records = read_records(align_folder(root, number) / "evaluation" / RECORDS_FILE)
    return RoundResults(
        rounds=rounds,
        strengths=strengths_of(records, names_of(root, number), seed=seed),
        best=best_round(rounds),
        stopped=stop_reason(rounds, patience),
    )


def write_round_results(root: Path, results: RoundResults) -> None:
    """Write rounds.json."""
    content = finite_or_null(asdict(results))
    write_atomically(root / ROUNDS, json.dumps(content, indent=2) + "\n")


def names_of(root: Path, number: int) -> dict[str, str]:
    """Name of each policy in a round's evaluation -> its name over rounds, SFT first."""
    names = {name: f"round-{each}" for each, name in enumerate(policies(root, number), FIRST)}
    return {SFT: SFT, **names}


def result_of_round(root: Path, number: int, *, seed: int) -> RoundResult:
    """The results of one round, from its evaluation, gate and labels."""
    folder = align_folder(root, number)
    results = read_results(folder / "evaluation")
    policy = list(policies(root, number))[-1]
    proxy = _win_rate(results, policy, REWARD_MODEL)
    gold = _win_rate(results, policy, GOLD)
    new, train = _counts(folder / "labels")
    gap = comparison = None
    if gold is not None:
        records = read_records(folder / "evaluation" / RECORDS_FILE)
        gap = gap_of(records, policy, seed=seed) if proxy is not None else None
        if number > FIRST:
            comparison = compare(records, list(policies(root, number)), seed=seed)
    return RoundResult(
        round=number,
        folder="." if number == FIRST else folder.name,
        new_rankings=new,
        train_rankings=train,
        accuracy=_accuracy(folder / "reward_model" / GATE),
        proxy=proxy,
        gold=gold,
        gap=gap,
        kl=_found(find(results, "kl", policy)),
        length=_found(find(results, "length", policy)),
        comparison=comparison,
    )


def stop_reason(rounds: Sequence[RoundResult], patience: int) -> str:
    """Why no further round is worth it; "" if one may be.

    The rule: a round improves if its win rate against the best earlier round, by the gold score on
    held-out prompts, has a 95% interval above 1/2. After `patience` rounds in a row that do not
    improve, the pipeline stops. Without a gold score no round is compared, and the rule never
    stops: the reward model that trained a policy cannot judge it.
    """
    last = [each.comparison for each in rounds[-patience:]] if patience else []
    if len(last) < patience or not last or any(each is None or each.improved for each in last):
        return ""
    comparison = last[-1]
    assert comparison is not None
    rate = comparison.win_rate
    return (
        f"round {rounds[-1].round} is not better than round {comparison.against}: it wins "
        f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}] by the gold score"
    )


def best_round(rounds: Sequence[RoundResult]) -> int:
    """The round of the policy to use: the last one, or the one that it does not beat."""
    comparison = rounds[-1].comparison
    if comparison is None or comparison.improved:
        return rounds[-1].round
    return comparison.against


def _counts(labels: Path) -> tuple[int, int]:
    """Rankings that a round added, and rankings that its reward model was trained on."""
    if (labels / COUNTS).is_file():
        counts = json.loads((labels / COUNTS).read_text(encoding="utf-8"))
        return int(counts["new"]), int(counts["train"])
    train, held_out = (
        (labels / name).read_text(encoding="utf-8").count("\n") for name in (TRAIN, HELD_OUT)
    )
    return train + held_out, train


def _accuracy(gate: Path) -> Interval | None:
    accuracy = json.loads(gate.read_text(encoding="utf-8"))["accuracy"]
    if accuracy is None:
        return None
    return Interval(**{name: accuracy.get(name) for name in ("value", "low", "high", "mde")})


def _win_rate(results: Sequence[Result], model: str, judge: str) -> Interval | None:
    return _found(find(results, "win_rate", model, baseline=SFT, judge=judge))


def _found(result: Result | None) -> Interval | None:
    return None if result is None else interval_of(result)
