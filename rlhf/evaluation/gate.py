"""`python -m rlhf.evaluation.gate`: may PPO be let loose on this reward model?

PPO finds whatever the reward model rewards. Two questions that are cheap to ask before: does it
order held-out answers better than chance, and does it score a demonstration above the same words
shuffled? The verdict is pass, warn or fail, each with its reason.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from rlhf.config import parse_config
from rlhf.data.bad_rows import BadRows
from rlhf.data.rows import load_demonstrations, load_rankings
from rlhf.data.split import group_key
from rlhf.errors import DataError
from rlhf.evaluation.bootstrap import Estimate
from rlhf.evaluation.win_rate import win_rate
from rlhf.launch import quiet_logs, run, start_processes
from rlhf.manifest import write_atomically
from rlhf.models.seam import load_checked_tokenizer
from rlhf.ops.ranking import pairs_in_order, share_with_interval
from rlhf.rewards.model import RewardModel
from rlhf.rewards.word_salad import shuffled
from rlhf.types import Demonstration, Ranking

GATE = "gate.json"
PASS, WARN, FAIL = "pass", "warn", "fail"
WEAK_ACCURACY = 0.6
FEW_PROMPTS = 30
TOO_FEW_PROMPTS = 8  # all of 8 coins fall heads once in 256; of 4, once in 16


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What is asked of which reward model."""

    reward_model: str = field(metadata={"help": "Folder of the reward model."})
    rankings: str = field(metadata={"help": "Held-out rankings it was not trained on."})
    demonstrations: str = field(metadata={"help": "Demonstrations, to be told from shuffled text."})
    output: str = field(metadata={"help": "Where the verdict goes, as JSON."})
    num_demonstrations: int = field(default=200, metadata={"help": "Score this many of them."})
    seed: int = field(default=0, metadata={"help": "Which of them, and how words are shuffled."})
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Leave bad rows out, instead of stopping."}
    )
    cpu_threads: int | None = field(default=None, metadata={"help": "CPU threads."})


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The verdict and what it rests on."""

    verdict: str  # pass, warn, fail
    reasons: Sequence[str]  # why it is not a pass; empty where it is
    accuracy: Estimate  # of held-out pairs, ties left out
    above_shuffled: Estimate  # share of demonstrations scored above their own words shuffled


def judge_reward_model(accuracy: Estimate, above_shuffled: Estimate) -> Gate:
    """The verdict on two figures.

    fail: the interval of the accuracy reaches down to chance, or stands on too few prompts to
    tell from coins, or demonstrations lie clearly below shuffled text. warn: the accuracy is weak
    or rests on few prompts, or demonstrations are not clearly above shuffled text. pass: neither.
    """
    held = f"held-out accuracy {_shown(accuracy)}, {accuracy.n} prompts"
    above = f"demonstrations above shuffled text {_shown(above_shuffled)}"
    failures, warnings = [], []
    if accuracy.n < TOO_FEW_PROMPTS:
        failures.append(f"{held}: fewer than {TOO_FEW_PROMPTS} cannot be told from coins")
    elif accuracy.low <= 0.5:
        failures.append(f"{held}: the interval reaches 0.5, a coin")
    elif accuracy.value < WEAK_ACCURACY:
        warnings.append(f"{held}: below {WEAK_ACCURACY}, a weak guide")
    if not failures and accuracy.n < FEW_PROMPTS:
        warnings.append(f"{held}: fewer than {FEW_PROMPTS}")
    if above_shuffled.high < 0.5:
        failures.append(f"{above}: it prefers word salad")
    elif above_shuffled.low <= 0.5:
        warnings.append(f"{above}: it hardly sees the difference")
    verdict = FAIL if failures else WARN if warnings else PASS
    return Gate(
        verdict=verdict,
        reasons=failures + warnings,
        accuracy=accuracy,
        above_shuffled=above_shuffled,
    )


def pair_accuracy(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> Estimate:
    """Share of the rankings' ordered pairs that the scores put in that order, by prompt.

    Ties of people are left out; equal scores count half.
    """
    correct: dict[str, float] = {}
    pairs: dict[str, float] = {}
    for ranking, given in zip(rankings, scores, strict=True):
        one_group = torch.zeros(len(given), dtype=torch.long)
        right, of = pairs_in_order(torch.tensor(given), torch.tensor(ranking.ranks), one_group)
        key = group_key(ranking)
        correct[key] = correct.get(key, 0.0) + float(right)
        pairs[key] = pairs.get(key, 0.0) + float(of)
    totals = torch.tensor(list(pairs.values()))
    value, low, high = share_with_interval(torch.tensor(list(correct.values())), totals)
    return Estimate(value=value, low=low, high=high, n=int((totals > 0).sum()))


def main() -> None:
    """Score, judge, write."""
    (config,) = parse_config(GateConfig, description=__doc__)
    start_processes(config.cpu_threads)
    quiet_logs()
    chat, _ = load_checked_tokenizer(config.reward_model, config.chat_template, judges=True)
    with BadRows(drop=config.drop_bad_rows) as bad_rows:
        rankings = load_rankings(config.rankings, role="eval", chat=chat, bad_rows=bad_rows).rows
        demonstrations = load_demonstrations(
            config.demonstrations, chat=chat, bad_rows=bad_rows
        ).rows
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = RewardModel(config.reward_model, chat_template=config.chat_template, device=device)
    gate = judge_reward_model(
        pair_accuracy(rankings, _score_rankings(model, rankings)),
        _above_shuffled(model, demonstrations, config),
    )
    write_atomically(Path(config.output), json.dumps(asdict(gate), indent=2) + "\n")
    print(f"gate: {gate.verdict}", *gate.reasons, sep="\n  ")


def _score_rankings(model: RewardModel, rankings: Sequence[Ranking]) -> list[list[float]]:
    flat = [(ranking.prompt, text) for ranking in rankings for text in ranking.responses]
    scores = iter(model.score([prompt for prompt, _ in flat], [text for _, text in flat]))
    return [[next(scores) for _ in ranking.responses] for ranking in rankings]


def _above_shuffled(
    model: RewardModel, demonstrations: Sequence[Demonstration], config: GateConfig
) -> Estimate:
    """Each demonstration against its own words shuffled; those of fewer than 3 words left out.

    Raises:
        DataError: none is longer.
    """
    rng = random.Random(config.seed)
    long_enough = [row for row in demonstrations if len(row.completion.split()) > 2]
    if not long_enough:
        raise DataError(f"{config.demonstrations}: no answer of 3 words or more to shuffle.")
    chosen = rng.sample(long_enough, min(config.num_demonstrations, len(long_enough)))
    prompts = [row.prompt for row in chosen]
    real = model.score(prompts, [row.completion for row in chosen])
    salad = model.score(prompts, [shuffled(row.completion, config.seed) for row in chosen])
    return win_rate([[score] for score in real], [[score] for score in salad])


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


if __name__ == "__main__":
    run(main)
