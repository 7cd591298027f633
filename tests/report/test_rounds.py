"""The section over rounds, and the round that the other sections show."""

import json
import shutil

from rlhf.report.interval import interval_text
from rlhf.report.page import render
from rlhf.report.read import read_run
from rlhf.report.rounds import rounds_view
from rlhf.report.write import write_report
from tests.report.made_up_run import evaluation, write_run


def interval(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def round_of(number, proxy, gold, comparison=None):
    return {
        "round": number,
        "folder": "." if number == 1 else f"round-{number}",
        "new_rankings": 100 * number,
        "train_rankings": 150 * number,
        "accuracy": interval(0.7),
        "proxy": interval(proxy),
        "gold": interval(gold),
        "gap": proxy - gold,
        "kl": interval(4.5),
        "length": None,
        "comparison": comparison,
    }


CONTENT = {
    "rounds": [
        round_of(1, 0.9, 0.6),
        round_of(2, 0.85, 0.7, {"against": 1, "win_rate": interval(0.62), "improved": True}),
        round_of(3, 0.86, 0.7, {"against": 2, "win_rate": interval(0.5), "improved": False}),
    ],
    "strengths": [
        {"judge": "gold", "model": name, "strength": interval(value)}
        for name, value in (("sft", -1.0), ("round-1", 0.1), ("round-2", 0.5), ("round-3", 0.4))
    ],
    "best": 2,
    "stopped": "round 3 is not better than round 2",
}


def test_table_has_a_row_per_round(tmp_path):
    view = rounds_view(CONTENT, tmp_path / "run")
    assert view.rows[0] == [
        *("1", "100", "150", "0.9 [0.85, 0.95]", "0.6 [0.55, 0.65]", "+0.30", "–"),
        *("0.7 [0.65, 0.75]", "4.5 [4.45, 4.55]", "–"),
    ]
    assert len(view.header) == len(view.rows[0])
    against = view.header.index("against the best earlier round")
    assert view.rows[1][against] == "round 1: 0.62 [0.57, 0.67], better"
    assert view.rows[2][against] == "round 2: 0.5 [0.45, 0.55], not better"
    assert view.verdict == (
        "Use the policy of round 2. Stopped: round 3 is not better than round 2."
    )
    assert view.commands == [f"rlhf report {tmp_path}/run/round-2"]


def test_figures_have_what_they_detect(tmp_path):
    """In the table and in the plot of the strengths; files of earlier versions have none."""
    first = {**round_of(1, 0.9, 0.6), "proxy": interval(0.9) | {"mde": 0.071}}
    first["gap"] = interval(0.3) | {"mde": 0.0714}
    strength = {"judge": "gold", "model": "sft", "strength": interval(-1.0) | {"mde": 0.5}}
    view = rounds_view({"rounds": [first], "strengths": [strength]}, tmp_path)
    assert view.rows[0][3] == "0.9 [0.85, 0.95], detects ± 0.071"
    assert view.rows[0][5] == "0.3 [0.25, 0.35], detects ± 0.071"
    assert "sft, detects ± 0.5" in view.strengths[0][1]


def test_strengths_without_an_interval_are_in_the_plot(tmp_path):
    """Null ends: grey circles at the ends of the axis, 46 and 350, without lines."""
    strength = {"value": -1.0, "low": None, "high": None, "mde": None}
    rows = [{"judge": "gold", "model": "sft", "strength": strength}]
    rows += [{"judge": "gold", "model": "round-1", "strength": {**strength, "value": 1.0}}]
    content = {"rounds": [round_of(1, 0.9, 0.6)], "strengths": rows}
    [(_, plot)] = rounds_view(content, tmp_path).strengths
    assert "sft, no interval" in plot
    assert [plot.count(f'<circle class="even" cx="{x}"') for x in ("46.0", "350.0")] == [1, 1]
    assert "whisker" not in plot
    assert interval_text(strength) == "-1"


def test_gap_that_rounds_to_zero_has_no_minus(tmp_path):
    content = {"rounds": [{**round_of(1, 0.7, 0.704), "gap": -0.004}]}
    assert "+0.00" in rounds_view(content, tmp_path).rows[0]


def test_charts_compare_proxy_and_gold_and_the_rounds(tmp_path):
    view = rounds_view(CONTENT, tmp_path)
    [(_, chart, names)] = view.charts
    assert names == ["reward model (proxy)", "gold"]
    assert chart.count("<polyline") == 4  # raw and smoothed
    [(judge, plot)] = view.strengths
    assert judge == "gold"
    assert plot.index("sft") < plot.index("round-1") < plot.index("round-3")


def test_no_section_without_rounds(tmp_path):
    assert rounds_view({}, tmp_path) is None
    assert rounds_view({"rounds": []}, tmp_path) is None
    run = read_run(write_run(tmp_path / "run"))
    assert ">Rounds</h2>" not in render(run)


def test_other_sections_are_of_the_last_round(tmp_path):
    """Round 2 has its own evaluation and PPO; SFT was trained once."""
    root = write_run(tmp_path / "run")
    later = root / "round-2"
    later.mkdir()
    for name in ("ppo", "reward_model", "evaluation"):
        shutil.copytree(root / name, later / name)
    (later / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation(gold=0.81)))
    content = {**CONTENT, "rounds": CONTENT["rounds"][:2], "stopped": ""}
    (root / "rounds.json").write_text(json.dumps(content))
    page = write_report(root).read_text()
    assert ">Rounds</h2>" in page
    assert "Use the policy of round 2." in page
    assert "ppo wins 81%" in page
    assert "Curves: sft" in page
    (root / "rounds.json").unlink()
    assert "ppo wins 74%" in write_report(root).read_text()


def test_torn_file_of_rounds_is_left_out(tmp_path):
    root = write_run(tmp_path / "run")
    (root / "rounds.json").write_text('{"rounds": [{"rou')
    assert ">Rounds</h2>" not in write_report(root).read_text()
