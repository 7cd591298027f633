"""compare.json and compare.md: every figure of a comparison."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rlhf.evaluation.core.results import detects_text, number
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.manifest import write_atomically
from rlhf.pipeline.compare.analysis import Comparison, Difference, Marked
from rlhf.pipeline.compare.points import Numbers
from rlhf.pipeline.compare.verdict import interval, mean_seconds

JSON, MARKDOWN = "compare.json", "compare.md"
HEAD = (
    *("method", "strength", "win rate", "KL, nats", "reward", "judge's score", "tokens"),
    *("sampled", "trained on", "seconds", ""),
)
RUN_HEAD = ("run", "win rate", "KL, nats", "responses sampled", "tokens trained on", "seconds")


def content_of(
    comparison: Comparison,
    sft: Numbers,
    verdict: Sequence[str],
    provenance: Mapping[str, object],
) -> dict[str, object]:
    """The content of compare.json.

    Args:
        comparison: the marked points.
        sft: numbers of the SFT model.
        verdict: its sentences, the most important first.
        provenance: model, judge, data, seeds and budget.
    """
    equal = comparison.at_equal_kl
    return {
        **provenance,
        "verdict": list(verdict),
        "sft": {
            "reward": float(sft.reward.mean()),
            "score": float(sft.score.mean()),
            "length": float(sft.length.mean()),
        },
        "points": [_point(marked) for marked in comparison.points],
        "best": [_key(marked) for marked in comparison.best],
        "differences": [_difference(each) for each in comparison.differences],
        "at_equal_kl": None
        if equal is None
        else {
            "kl": equal.kl,
            "win_rate": equal.win_rate.content,
            "other_win_rate": equal.other_win_rate.content,
            **_difference(equal.difference),
        },
    }


def write_results(folder: Path, content: Mapping[str, object], comparison: Comparison) -> None:
    """Write compare.json and compare.md."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(folder / JSON, text + "\n")
    lines = [
        "# Comparison",
        "",
        *(f"- {sentence}" for sentence in _sentences(content)),
        "",
        *_table(HEAD, rows_of(comparison)),
        "",
        "Win rate, KL, reward and score are means over seeds and held-out prompts with 95% "
        "intervals, and the smallest true difference that they detect with 80% power; tokens are "
        "the mean length of a response. Cost is the mean of a run: responses sampled while it "
        "trained, response tokens of its optimizer steps, seconds.",
        "",
        "## Runs",
        "",
        *_table(RUN_HEAD, run_rows(comparison)),
    ]
    write_atomically(folder / MARKDOWN, "\n".join(lines) + "\n")


def rows_of(comparison: Comparison) -> list[list[str]]:
    """A row of the table for each point."""
    rows = []
    for m in comparison.points:
        point, bound = m.point, "≤ " if m.point.kl_is_bound else ""
        sampled = _mean(m, "responses")
        rows.append(
            [
                point.method.name,
                point.swept_text,
                _figure(m.win_rate),
                f"{bound}{number(m.kl.value)}" if bound else _figure(m.kl),
                _figure(m.reward),
                _figure(m.score),
                number(m.length),
                f"{sampled:,.0f}" if point.costs else f"{point.per_answer} per answer",
                f"{_mean(m, 'tokens'):,.0f}" if point.costs else "–",
                f"{mean_seconds(m):,.0f}" if point.costs else "–",
                mark_text(m),
            ]
        )
    return rows


def mark_text(m: Marked) -> str:
    """What the marks of a point say."""
    marks = ["Pareto"] if m.pareto else []
    if m.peak is not None:
        marks.append("over-optimised" if m.over_optimized else "beyond its peak")
    return ", ".join(marks)


def run_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each run."""
    return [
        [
            f"{m.point.name}, seed {seed}",
            number(float(m.point.wins[index].mean())),
            number(float(m.point.kl[index].mean())),
            f"{m.point.costs[index].responses:,}",
            f"{m.point.costs[index].tokens:,}",
            f"{m.point.costs[index].seconds:,.0f}",
        ]
        for m in comparison.points
        for index, seed in enumerate(m.point.seeds)
    ]


def _point(m: Marked) -> dict[str, object]:
    point = m.point
    return {
        **_key(m),
        "recipe": point.method.recipe,
        "win_rate": m.win_rate.content,
        "kl": {**m.kl.content, "is_bound": point.kl_is_bound},
        "reward": m.reward.content,
        "score": m.score.content,
        "length": m.length,
        "responses_per_answer": point.per_answer,
        "pareto": m.pareto,
        "over_optimized": m.over_optimized,
        "peak": None if m.peak is None else m.peak.value,
        "runs": [
            {
                "seed": seed,
                "win_rate": float(point.wins[index].mean()),
                "kl": float(point.kl[index].mean()),
                "reward": float(point.reward[index].mean()),
                "score": float(point.score[index].mean()),
                **asdict(point.costs[index]),
            }
            for index, seed in enumerate(point.seeds)
        ],
    }


def _key(m: Marked) -> dict[str, object]:
    return {"method": m.point.method.name, "key": m.point.method.swept, "value": m.point.value}


def _difference(each: Difference) -> dict[str, object]:
    return {
        "other": _key(each.other),
        "difference": each.estimate.content,
        "distinguishable": each.distinguishable,
    }


def _figure(estimate: Estimate) -> str:
    """`0.71 [0.68, 0.74], detects ± 0.04`; the last is the minimal detectable effect."""
    detects = "" if estimate.mde is None else f", detects {detects_text(estimate.mde)}"
    return interval(estimate) + detects


def _mean(m: Marked, name: str) -> float:
    values = [float(getattr(cost, name)) for cost in m.point.costs]
    return sum(values) / max(1, len(values))


def _sentences(content: Mapping[str, object]) -> list[str]:
    verdict = content["verdict"]
    assert isinstance(verdict, list)
    return verdict


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
