"""The changes of a run of suites since its baseline as a section: what dropped, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.charts import Bar, forest_plot
from rlhf.report.read import Row
from rlhf.report.verdict import AMBER, GREEN, RED, Light

HEADER = ("figure", "model", "before", "now", "change [interval]", "prompts", "verdict")
WORSE, TOLERATED = "worse", "worse, within its tolerance"
DROPPED, UNCHANGED = "dropped, within its interval", "no clear change"
BETTER = "better"


@dataclass(frozen=True, kw_only=True)
class ChangesView:
    """The section of the page."""

    baseline: str  # folder of the earlier run
    plot: Markup  # changes for the better
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # one row per figure and model, the worst verdicts first
    notes: Sequence[str]


def changes_view(evaluation: Row) -> ChangesView | None:
    """The section; None for a run without a baseline."""
    changes = _changes(evaluation)
    if not changes:
        return None
    improvements = [_improvement(one) for one in changes]
    edge = max(abs(end) for one in improvements for end in (one.low, one.high)) or 1.0
    return ChangesView(
        baseline=str(evaluation.get("baseline_run") or "an earlier run"),
        plot=forest_plot(improvements, middle=0.0, ends=(-edge, edge)),
        header=HEADER,
        rows=[_row(one) for one in changes],
        notes=[str(note) for note in evaluation.get("notes") or []],
    )


def changes_light(evaluation: Row) -> Light | None:
    """Whether a figure is worse than in the baseline; None for a run without one."""
    changes = _changes(evaluation)
    if not changes:
        return None
    verdicts = [verdict_of(one) for one in changes]
    worse = [_name(one) for one, verdict in zip(changes, verdicts, strict=True) if verdict == WORSE]
    figures = f"{len(changes)} figures" if len(changes) > 1 else "1 figure"
    if worse:
        return Light(
            tone=RED, text=f"Worse than the baseline: {', '.join(worse)} ({figures} compared)."
        )
    counts = {name: verdicts.count(name) for name in (TOLERATED, DROPPED, BETTER)}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    text = f"No regression since the baseline: {figures} compared"
    tone = AMBER if counts[TOLERATED] else GREEN
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


def _changes(evaluation: Row) -> list[Row]:
    """The changes of the file, regressions first; those of another form are left out."""
    listed = evaluation.get("changes")
    rows = [one for one in listed if _is_change(one)] if isinstance(listed, list) else []
    order = (WORSE, TOLERATED, DROPPED, UNCHANGED, BETTER)
    return sorted(rows, key=lambda one: order.index(verdict_of(one)))


def _is_change(row: object) -> bool:
    return isinstance(row, dict) and all(
        isinstance(row.get(key), int | float)
        for key in ("before", "after", "change", "low", "high", "prompts")
    )


def _improvement(change: Row) -> Bar:
    """The change with its sign turned for figures of which a lower value is better."""
    value, low, high = (float(change[key]) for key in ("change", "low", "high"))
    if change.get("better") == "lower":
        value, low, high = -value, -high, -low
    return Bar(label=_name(change), value=value, low=low, high=high)


def _name(change: Row) -> str:
    return f"{change.get('figure', '')} of {change.get('model', '')}"


def _row(change: Row) -> list[str]:
    low, high = float(change["low"]), float(change["high"])
    return [
        str(change.get("figure", "")),
        str(change.get("model", "")),
        f"{float(change['before']):.3f}",
        f"{float(change['after']):.3f}",
        f"{float(change['change']):+.3f} [{low:+.3f}, {high:+.3f}]",
        str(change["prompts"]),
        verdict_of(change),
    ]
