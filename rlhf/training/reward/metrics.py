"""Health of a reward model on held-out rankings, and its normalisation on demonstrations."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.ops.accuracy import preferences_in_order, share_with_interval
from rlhf.ops.ranking import ordered_pairs, soft_ranking_loss
from rlhf.rewards.shuffled_words import shuffled
from rlhf.training.reward.data import TokenRanking, flatten
from rlhf.training.reward.scores import Scores
from rlhf.types import Demonstration

CHUNK = 256  # rankings at a time: the pairs of N responses are in [N, N] tables


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the model orders held-out responses.

    Ties are not pairs. A pair with a probability counts with the share of people who order it as
    the model does.
    """

    loss: float  # Bradley-Terry, mean over rankings of their mean over pairs; chance: log 2
    accuracy: float  # share of pairs ordered as in the rankings
    low: float  # 95% interval, clustered by prompt
    high: float
    pairs: int
    longer_wins: float  # accuracy of "the response with more tokens wins" on the same pairs
    longer_low: float  # 95% interval, clustered by prompt
    longer_high: float

    def metrics(self) -> dict[str, float]:
        """The metrics by their names in metrics.jsonl."""
        return {
            "eval_loss": self.loss,
            "eval_accuracy": self.accuracy,
            "eval_accuracy_low": self.low,
            "eval_accuracy_high": self.high,
            "eval_pairs": self.pairs,
            "eval_longer_wins": self.longer_wins,
            "eval_longer_wins_low": self.longer_low,
            "eval_longer_wins_high": self.longer_high,
        }


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Mean and standard deviation of the raw logit on demonstrations."""

    mean: float
    std: float
    rows: int
    above_shuffled: float  # share of demonstrations that score above their shuffled words; NaN if
    # none has another order
    offsets: Sequence[float] = (0.0,)  # each head's mean minus that of all heads


NOT_NORMALIZED = Normalization(mean=0.0, std=1.0, rows=0, above_shuffled=float("nan"))


def measure(scores: Scores, held_out: Sequence[TokenRanking]) -> Health:
    """The health on `held_out`, at least one ranking. Call it on all processes."""
    by_ranking = response_scores(scores, held_out)
    rows = [
        row
        for start in range(0, len(held_out), CHUNK)
        for row in _columns(by_ranking[start:][:CHUNK], held_out[start:][:CHUNK])
    ]
    loss, right, counted, long = torch.tensor(rows).unbind(dim=1)  # of [rankings, 4]
    prompts = [ranking.group for ranking in held_out]
    correct, pairs, longer = (_by_prompt(column, prompts) for column in (right, counted, long))
    share, low, high = share_with_interval(correct, pairs)
    longer_wins, longer_low, longer_high = share_with_interval(longer, pairs)
    return Health(
        loss=float(loss[counted > 0].mean()),
        accuracy=share,
        low=low,
        high=high,
        pairs=int(pairs.sum()),
        longer_wins=longer_wins,
        longer_low=longer_low,
        longer_high=longer_high,
    )


def response_scores(scores: Scores, rankings: Sequence[TokenRanking]) -> list[Tensor]:
    """Raw scores of each ranking's responses, float [K], read by all processes together."""
    rows = [ids for ranking in rankings for ids in ranking.ids]
    heads = scores.read_together(rows, title="held-out responses")
    return list(torch.split(heads.mean(dim=1), [len(ranking.ids) for ranking in rankings]))


def _columns(scores: Sequence[Tensor], rankings: Sequence[TokenRanking]) -> list[list[float]]:
    """For each ranking: loss, pairs in order, pairs, pairs that the longer response wins."""
    flat = flatten(rankings)
    values = torch.cat(list(scores))
    lengths = torch.tensor([float(len(row)) for row in flat.ids])[flat.index]
    preferred = flat.preferred
    if preferred is None:
        preferred = ordered_pairs(flat.ranks, flat.group_ids)
    correct, pairs = preferences_in_order(values, preferred, flat.group_ids)
    longer, _ = preferences_in_order(lengths, preferred, flat.group_ids)
    losses = soft_ranking_loss(values, preferred, flat.group_ids)
    columns: list[list[float]] = torch.stack([losses, correct, pairs, longer], dim=1).tolist()
    return columns


def normalization(
    scores: Scores,
    chat: ChatTokenizer,
    rows: Sequence[Demonstration],
    *,
    seed: int,
    weights: Tensor | None = None,
) -> Normalization:
    """Mean and std (Bessel-corrected) of the raw logit. Call it on all processes.

    The std of one row, or of rows with equal scores, is 1.

    Args:
        scores: of the model.
        chat: its tokenizer.
        rows: demonstrations, at least one.
        seed: of the shuffled words.
        weights: of the heads in the raw logit, float [heads]; None for their mean.
    """
    ids = [judged_ids(chat, row.prompt, row.completion) for row in rows]
    ids += [judged_ids(chat, row.prompt, shuffled(row.completion, seed)) for row in rows]
    heads = scores.read_together(ids, title="demonstrations")
    logits = heads.mean(dim=1) if weights is None else heads @ weights
    values, controls, heads = logits[: len(rows)], logits[len(rows) :], heads[: len(rows)]
    changed = values != controls  # a response of one word has no other order
    std = float(values.std()) if len(rows) > 1 else 0.0
    return Normalization(
        mean=float(values.mean()),
        std=std if std > 1e-6 else 1.0,
        rows=len(rows),
        above_shuffled=float((values > controls)[changed].float().mean()),
        offsets=(heads.mean(dim=0) - values.mean()).tolist(),
    )


def summary(
    steps: int, health: Health | None, scale: Normalization, stopped_early: str
) -> dict[str, str]:
    """The run's metrics for people."""
    lines = {"optimizer steps": str(steps)}
    if health is not None and not health.pairs:
        lines["held-out accuracy"] = "unknown: no held-out ranking has an order"
    elif health is not None:
        interval = f"{health.low:.3f} to {health.high:.3f}"
        lines["held-out accuracy"] = f"{health.accuracy:.3f} ({interval}, {health.pairs} pairs)"
        interval = f"{health.longer_low:.3f} to {health.longer_high:.3f}"
        lines["the longer response wins"] = f"{health.longer_wins:.3f} ({interval}, the same pairs)"
        lines["held-out loss"] = f"{health.loss:.4f} (chance: 0.6931)"
    if scale.rows:
        lines["raw reward of demonstrations"] = f"{scale.mean:.3f} ± {scale.std:.3f}, now 0 ± 1"
        if not math.isnan(scale.above_shuffled):
            lines["demonstrations above their shuffled words"] = f"{scale.above_shuffled:.3f}"
    return lines | ({"stopped early": stopped_early} if stopped_early else {})


def _by_prompt(column: Tensor, prompts: Sequence[str]) -> Tensor:
    """Sums over the rankings of each prompt: float [prompts] of [rankings]."""
    sums: defaultdict[str, float] = defaultdict(float)
    for prompt, value in zip(prompts, column.tolist(), strict=True):
        sums[prompt] += value
    return torch.tensor(list(sums.values()))
