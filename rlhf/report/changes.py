"""The changes of a run of suites since its baseline as a section: what dropped, and by how much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup

from rlhf.report.charts import Bar, forest_plot
from rlhf.report.read import Row
from rlhf.report.verdict import AMBER, GREEN, RED, Light
from rlhf.runtime.printing import counted

HEADER = ("figure", "model", "before", "now", "change [interval]", "detects", "prompts", "verdict")
WORSE, TOLERATED = "worse", "worse, within its tolerance"
DROPPED, UNCHANGED = "dropped, within its interval", "no clear change"
BETTER = "better"
NUMBERS = ("before", "after", "change", "low", "high", "prompts")


@dataclass(frozen=True, kw_only=True)
class ChangesView:
    """The section of the page."""

    baseline: str  # folder of the earlier run
    plot: Markup  # changes for the better
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # one row per figure and model, the worst verdicts first
    notes: Sequence[str]  # what was not compared, and which rows are not shown


def changes_view(evaluation: Row) -> ChangesView | None:
    """The section; None for a run without a baseline."""
    changes, left_out = _changes(evaluation)
    if not (changes or left_out):
        return None
    improvements = [_improvement(one) for one in changes]
    edge = max((abs(end) for one in improvements for end in (one.low, one.high)), default=0) or 1.0
    return ChangesView(
        baseline=str(evaluation.get("baseline_run") or "an earlier run"),
        plot=forest_plot(improvements, middle=0.0, ends=(-edge, edge)) if changes else Markup(""),
        header=HEADER,
        rows=[_row(one) for one in changes],
        notes=[*(str(note) for note in evaluation.get("notes") or []), *left_out],
    )


def changes_light(evaluation: Row) -> Light | None:
    """Whether a figure is worse than in the baseline; None for a run without one."""
    changes, left_out = _changes(evaluation)
    if not (changes or left_out):
        return None
    verdicts = [verdict_of(one) for one in changes]
    worse = [_name(one) for one, verdict in zip(changes, verdicts, strict=True) if verdict == WORSE]
    figures = counted(len(changes), "figure")
    if worse:
        return Light(
            tone=RED, text=f"Worse than the baseline: {', '.join(worse)} ({figures} compared)."
        )
    counts = {name: verdicts.count(name) for name in (TOLERATED, DROPPED, BETTER)}
    counts["not shown"] = len(left_out)
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    text = f"No regression since the baseline: {figures} compared"
    tone = AMBER if counts[TOLERATED] or left_out else GREEN
    return Light(tone=tone, text=f"{text}{'; ' if parts else ''}{'; '.join(parts)}.")


def verdict_of(change: Row) -> str:
    """What the interval of a change says."""
    one = _improvement(change)
    if change.get("regressed"):
        return WORSE
    if one.high < 0:
        return TOLERATED
    if one.low > 0:
        return BETTER
    return DROPPED if one.value < 0 else UNCHANGED


def _changes(evaluation: Row) -> tuple[list[Row], list[str]]:
    """The changes of the file, regressions first; a sentence for each that cannot be shown."""
    listed = evaluation.get("changes") or []
    if not isinstance(listed, list):
        return [], ["The changes in evaluation.json are not a list, so none is shown."]
    rows: list[Row] = []
    left_out: list[str] = []
    for number, row in enumerate(listed, start=1):
        if flaw := _flaw(row):
            left_out.append(f"Change {number} in evaluation.json is not shown: {flaw}.")
        else:
            rows.append({**row, "better": _better(row)})
    order = (WORSE, TOLERATED, DROPPED, UNCHANGED, BETTER)
    return sorted(rows, key=lambda one: order.index(verdict_of(one))), left_out


def _flaw(row: object) -> str:
    """Why a change cannot be shown; empty if it can."""
    if not isinstance(row, dict):
        return "it is not an object"
    if missing := [key for key in NUMBERS if not _is_number(row.get(key))]:
        return f"{_name(row)} has no number in {', '.join(missing)}"
    if not isinstance(row.get("regressed"), bool):
        return f"regressed of {_name(row)} is neither true nor false"
    if _better(row) is None:
        return (
            f"{_name(row)} does not say whether higher or lower is better, and its interval does "
            "not tell it; run the suites again with this version"
        )
    return ""


def _better(change: Row) -> str | None:
    """higher or lower; None if it is not known.

    Earlier versions wrote no `better`. Then an interval that is beyond the tolerance on one side
    tells it: such a change has regressed if and only if it is for the worse.
    """
    if "better" in change:
        return str(change["better"]) if change["better"] in ("higher", "lower") else None
    tolerance = change.get("tolerance")
    if not _is_number(tolerance):
        return None
    rose, fell = change["low"] > tolerance, change["high"] < -tolerance
    if not (rose or fell):
        return None
    return "lower" if rose == change["regressed"] else "higher"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _improvement(change: Row) -> Bar:
    """The change with its sign turned for figures of which a lower value is better."""
    value, low, high = (float(change[key]) for key in ("change", "low", "high"))
    if change.get("better") == "lower":
        value, low, high = -value, -high, -low
    return Bar(label=_name(change), value=value, low=low, high=high)


def _name(change: Row) -> str:
    return f"{change.get('figure', '?')} of {change.get('model', '?')}"


def _row(change: Row) -> list[str]:
    low, high = float(change["low"]), float(change["high"])
    mde = change.get("mde")
    return [
        str(change.get("figure", "")),
        str(change.get("model", "")),
        f"{float(change['before']):.3f}",
        f"{float(change['after']):.3f}",
        f"{float(change['change']):+.3f} [{low:+.3f}, {high:+.3f}]",
        f"± {mde:.3f}" if _is_number(mde) and mde > 0 else "–",
        str(change["prompts"]),
        verdict_of(change),
    ]
