"""Metrics of the reward's sources: spread, correlation, and how their calls went."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.rewards.counts import SourceCounts
from rlhf.rewards.reward import Reward
from rlhf.types import Scores


def short_names(sources: Sequence[str]) -> Sequence[str]:
    """The last parts of the paths, where these are distinct."""
    names = [source.rpartition("/")[2] for source in sources]
    return names if len(set(names)) == len(names) else sources


def source_metrics(scores: Scores) -> dict[str, float]:
    """Standard deviation of each source before its weight, and correlations of pairs.

    Of several sources only. Pearson's r over the responses; a pair with a source that is the same
    for all responses has none and is left out.
    """
    if len(scores.breakdown) < 2:
        return {}
    names = short_names(list(scores.breakdown))
    values = [each.double() for each in scores.breakdown.values()]
    metrics = {
        f"score_std/{name}": float(each.std(correction=0))
        for name, each in zip(names, values, strict=True)
    }
    for first, second in combinations(range(len(names)), 2):
        r = correlation(values[first], values[second])
        if r is not None:
            metrics[f"score_correlation/{names[first]},{names[second]}"] = r
    return metrics


def correlation(first: Tensor, second: Tensor) -> float | None:
    """Pearson's r of two sources over the same responses, float [B]; None without a spread."""
    one, two = first - first.mean(), second - second.mean()
    scale = one.norm() * two.norm()
    if float(scale) <= 1e-12 * max(float(first.norm() * second.norm()), 1e-300):
        return None
    return float((torch.dot(one, two) / scale).clamp(-1.0, 1.0))


def take_counts(reward: Reward, num_processes: int) -> Mapping[str, SourceCounts]:
    """The counts of each source since they were last taken, over all processes."""
    own = reward.counts.take()
    total: dict[str, SourceCounts] = {}
    for part in [own] if num_processes == 1 else gather_object([own]):
        for name, counts in part.items():
            total.setdefault(name, SourceCounts()).add(counts)
    return total


def count_metrics(counts: Mapping[str, SourceCounts], *, skips: bool) -> dict[str, float]:
    """How the calls of servers, judges, async functions and programs went.

    Args:
        counts: of each source, over all processes.
        skips: whether responses may have no score; the share of each source is then added.
    """
    metrics: dict[str, float] = {}
    if any(each.calls or each.cached for each in counts.values()):
        metrics |= {
            "reward_calls": sum(each.calls for each in counts.values()),
            "reward_retries": sum(each.retries for each in counts.values()),
            "reward_timeouts": sum(each.timeouts for each in counts.values()),
            "reward_cached": sum(each.cached for each in counts.values()),
        }
    if skips:
        names = short_names(list(counts))
        for name, each in zip(names, counts.values(), strict=True):
            metrics[f"reward_unusable/{name}"] = each.unusable / max(1, each.responses)
    return metrics
