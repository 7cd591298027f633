"""The section of the report about changes since the baseline of a run of suites."""

import json

import pytest

from rlhf.report.changes import changes_light, changes_view, verdict_of
from rlhf.report.page import render
from rlhf.report.read import read_run


def change(value, spread=0.1, **fields):
    return {
        "figure": "mine good", "model": "new", "before": 0.5, "after": 0.5 + value,
        "change": value, "low": value - spread, "high": value + spread, "prompts": 40,
        "mde": 0.1431, "tolerance": 0.0, "better": "higher", "regressed": value + spread < 0,
    } | fields  # fmt: skip


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (change(-0.2), "worse"),
        (change(-0.2, regressed=False, tolerance=0.2), "worse, within its tolerance"),
        (change(-0.05), "dropped, within its interval"),
        (change(0.0, spread=0.0), "no clear change"),
        (change(0.05), "no clear change"),
        (change(0.2), "better"),
        (change(-0.2, better="lower", regressed=False), "better"),
        (change(0.05, better="lower"), "dropped, within its interval"),
        (change(0.2, better="lower", regressed=True), "worse"),
    ],
)
def test_verdict_of_an_interval(row, verdict):
    assert verdict_of(row) == verdict


def test_regressions_come_first_and_name_the_figure():
    rows = [change(0.0, 0.0, figure="mine same", mde=0.0), change(-0.2, figure="mine <bad>")]
    evaluation = {"changes": rows, "baseline_run": "runs/last", "notes": ["2 prompts left out"]}
    view = changes_view(evaluation)
    assert view.rows[0] == [
        "mine <bad>", "new", "0.500", "0.300", "-0.200 [-0.300, -0.100]", "± 0.143", "40", "worse",
    ]  # fmt: skip
    assert len(view.header) == len(view.rows[0])
    assert view.rows[1][5] == "–"  # if no prompt changed, its standard error tells nothing
    assert (view.baseline, view.notes) == ("runs/last", ["2 prompts left out"])
    assert "whisker bad" in view.plot
    light = changes_light(evaluation)
    assert light.tone == "red"
    assert light.text == "Worse than the baseline: mine <bad> of new (2 figures compared)."


def test_drop_within_its_interval_is_no_regression():
    light = changes_light({"changes": [change(-0.05)]})
    assert light.tone == "green"
    assert light.text.endswith("1 figure compared; 1 dropped, within its interval.")
    tolerated = changes_light({"changes": [change(-0.2, regressed=False)]})
    assert tolerated.tone == "amber"


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (change(-0.2), "worse"),  # regressed although it fell: higher is better
        (change(0.2, regressed=True), "worse"),
        (change(0.2, regressed=False), "better"),
        (change(-0.2, regressed=False), "better"),  # fell beyond its tolerance without regressing
        (change(0.3, tolerance=0.1, regressed=True), "worse"),
    ],
)
def test_direction_of_an_older_change_follows_from_whether_it_regressed(row, verdict):
    """Without `better`, an interval beyond the tolerance is worse if and only if it regressed."""
    older = {key: value for key, value in row.items() if key != "better"}
    view = changes_view({"changes": [older]})
    assert [cells[-1] for cells in view.rows] == [verdict]
    assert view.notes == []
    assert ("whisker good" in view.plot) == (verdict == "better")


@pytest.mark.parametrize(
    ("value", "tolerance"),
    [(0.05, 0.0), (-0.05, 0.0), (0.2, 0.15)],  # intervals of ±0.1 that reach the tolerance
)
def test_older_change_of_unknown_direction_is_not_shown(value, tolerance):
    older = change(value, tolerance=tolerance, regressed=False)
    del older["better"]
    view = changes_view({"changes": [older]})
    assert (view.rows, view.plot) == ([], "")
    assert "mine good of new does not say whether higher or lower is better" in view.notes[0]
    light = changes_light({"changes": [older, change(0.2)]})
    assert light.tone == "amber"
    assert light.text.endswith("1 figure compared; 1 better; 1 not shown.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "it is not an object"),
        (change(0.2, low=None, prompts="40"), "mine good of new has no number in low, prompts"),
        (change(float("nan")), "mine good of new has no number in after, change, low, high"),
        (change(0.2, regressed="no"), "regressed of mine good of new is neither true nor false"),
        (change(0.2, better="up"), "mine good of new does not say whether higher or lower"),
    ],
)
def test_malformed_change_is_left_out_with_its_reason(row, reason):
    view = changes_view({"changes": [change(0.2), row], "notes": ["a note"]})
    assert len(view.rows) == 1
    assert view.notes[0] == "a note"
    assert view.notes[1].startswith(f"Change 2 in evaluation.json is not shown: {reason}")


def test_page_of_a_run_of_suites(tmp_path):
    """The section is there with a baseline only, and its texts are escaped."""
    result = {"metric": "suite", "model": "new", "axis": "mine good", "value": 0.3, "low": 0.2,
              "high": 0.4, "n": 40, "baseline": None, "judge": None}  # fmt: skip
    content = {"kind": "suites", "results": [result], "models": {"new": "runs/new"}}
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(content))
    assert "Since the baseline" not in render(read_run(tmp_path))
    rows = [change(-0.2, figure="mine <bad>"), {"figure": "of another form"}]
    path.write_text(json.dumps({**content, "changes": rows, "baseline_run": "last"}))
    page = render(read_run(tmp_path))
    assert "Since the baseline" in page
    assert "Worse than the baseline: mine &lt;bad&gt; of new (1 figure compared)." in page
    assert "<bad>" not in page
    assert "Change 2 in evaluation.json is not shown: of another form of ? has no number" in page
