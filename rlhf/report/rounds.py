"""rounds.json as a section: proxy against gold by round, and Bradley-Terry over rounds."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from rlhf.report.charts import Series, forest_plot, line_chart
from rlhf.report.interval import bar_of, edge_of, interval_text
from rlhf.report.read import Row

JUDGES = {"proxy": "reward model (proxy)", "gold": "gold"}
HEADER = (
    *("round", "new labels", "labels", "proxy", "gold", "gap", "against the best earlier round"),
    *("reward model's accuracy", "KL", "tokens"),
)


@dataclass(frozen=True, kw_only=True)
class RoundsView:
    """The section of the page."""

    verdict: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # one row per round
    charts: Sequence[tuple[str, Markup, Sequence[str]]]  # title, chart, names of its lines
    strengths: Sequence[tuple[str, Markup]]  # judge, forest plot
    commands: Sequence[str]  # that write the pages of earlier rounds


def rounds_view(content: Row, folder: Path) -> RoundsView | None:
    """The section; None without rounds.

    Args:
        content: of rounds.json.
        folder: the pipeline's.
    """
    rounds = [each for each in content.get("rounds") or [] if isinstance(each, Mapping)]
    if not rounds:
        return None
    return RoundsView(
        verdict=_verdict(content, len(rounds)),
        header=HEADER,
        rows=[_row(each) for each in rounds],
        charts=_charts(rounds),
        strengths=_strengths(content.get("strengths") or []),
        commands=[
            shlex.join(["rlhf", "report", str(folder / str(each["folder"]))])
            for each in rounds[1:-1]
        ],
    )


def _verdict(content: Row, number: int) -> str:
    best = content.get("best", number)
    stopped = str(content.get("stopped") or "")
    sentence = f"Use the policy of round {best}."
    return f"{sentence} Stopped: {stopped}." if stopped else sentence


def _row(each: Row) -> list[str]:
    comparison = each.get("comparison")
    against = "–"
    if isinstance(comparison, Mapping):
        verdict = "better" if comparison["improved"] else "not better"
        against = f"round {comparison['against']}: {cell(comparison['win_rate'])}, {verdict}"
    return [
        str(each.get("round", "")),
        str(each.get("new_rankings", "")),
        str(each.get("train_rankings", "")),
        *(cell(each.get(key)) for key in ("proxy", "gold")),
        _gap(each.get("gap")),
        against,
        *(cell(each.get(key)) for key in ("accuracy", "kl", "length")),
    ]


def _gap(gap: object) -> str:
    """Files of earlier versions have no interval."""
    if isinstance(gap, int | float):
        return f"{round(gap, 2) + 0.0:+.2f}"  # + 0.0: never -0.00
    return cell(gap)


def cell(interval: object) -> str:
    """The figure with its interval, or a dash."""
    return interval_text(interval) if isinstance(interval, Mapping) else "–"


def _charts(rounds: Sequence[Row]) -> list[tuple[str, Markup, list[str]]]:
    """Proxy and gold over rounds; none for rounds without them, or a single one."""
    lines = []
    for key, name in JUDGES.items():
        measured = [each for each in rounds if isinstance(each.get(key), Mapping)]
        if len(measured) > 1:
            xs = [float(each["round"]) for each in measured]
            lines.append(Series(name=name, xs=xs, ys=[each[key]["value"] for each in measured]))
    if not lines:
        return []
    chart = line_chart(lines, x_label="round")
    return [("win rate against SFT by round", chart, [line.name for line in lines])]


def _strengths(strengths: Sequence[Row]) -> list[tuple[str, Markup]]:
    """(judge, forest plot) with SFT and the rounds in their order."""
    plots = []
    for judge in dict.fromkeys(str(each["judge"]) for each in strengths):
        bars = [
            bar_of(str(each["model"]), each["strength"], detects=True)
            for each in strengths
            if each["judge"] == judge
        ]
        edge = edge_of(bars)
        plot = forest_plot(bars, middle=0.0, ends=(-edge, edge))
        plots.append((judge.replace("_", " "), plot))
    return plots
