"""The picture and the page of a comparison."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from rlhf.pipeline.compare.analysis import compare
from rlhf.pipeline.compare.results import content_of, write_results
from rlhf.pipeline.compare.verdict import sentences
from rlhf.report.comparison import write_page
from rlhf.report.comparison_chart import Axes, axes_of, comparison_chart
from rlhf.report.label_places import (
    Box,
    Label,
    disk_box,
    least_overlap,
    name_places,
    value_places,
)
from tests.pipeline.compare.points import make_point

POINTS = (
    make_point("ppo", 1.0, 0.60, 1.0, reward=0.5),
    make_point("ppo", 0.3, 0.70, 4.0, reward=1.0),
    make_point("ppo", 0.05, 0.62, 9.0, reward=2.0),
    make_point("dpo", 0.1, 0.66, 4.2, recipe="dpo", spread=0.02),
    make_point("best_of_n", 8, 0.65, 1.2, recipe="best_of_n"),
)
PROVENANCE = {
    "model_name_or_path": "runs/sft",
    "labels": "labels.jsonl",
    "prompts": "prompts.jsonl",
    "heldout_prompts": "heldout.jsonl",
    "judge": "gold.py:score",
    "judge_name": "gold.py:score",
    "seeds": [0, 1, 2],
    "num_prompts": 200,
    "budget_responses": 640,
}


@pytest.fixture(scope="module")
def comparison():
    return compare(POINTS)


@pytest.fixture(scope="module")
def content(comparison):
    from rlhf.pipeline.compare.points import Numbers

    zero = POINTS[0].wins[0] * 0
    sft = Numbers(wins=zero + 0.5, kl=zero, reward=zero, score=zero + 1.0, length=zero + 9.0)
    verdict = sentences(comparison, judge="gold.py:score", num_seeds=3)
    return content_of(comparison, sft, verdict, PROVENANCE)


def test_axes_are_square_roots_of_kl():
    """4 nats are half as far from the left edge as 16; 0.5 is in the middle of 0.3 and 0.7."""
    axes = Axes(d_max=4.0, low=0.3, high=0.7)
    assert axes.x(4.0) - axes.x(0) == pytest.approx((axes.x(16.0) - axes.x(0)) / 2)
    assert axes.y(0.5) == pytest.approx((axes.y(0.3) + axes.y(0.7)) / 2)


def test_axes_hold_every_interval(content):
    axes = axes_of(content["points"])
    for point in content["points"]:
        assert axes.low <= point["win_rate"]["low"] <= point["win_rate"]["high"] <= axes.high
        assert axes.x(point["kl"]["value"]) <= axes.x(axes.d_max**2)


def test_overlap_by_value():
    """Two squares of 10 that share a corner of 4 by 3; the second ends where a third begins."""
    one = Box(left=0, top=0, right=10, bottom=10)
    other = Box(left=6, top=7, right=16, bottom=17)
    assert one.overlap(other) == other.overlap(one) == 12
    assert one.overlap(Box(left=10, top=0, right=20, bottom=10)) == 0
    right = Label(x=100, y=50, text="four", size=10, at_end=True).box
    assert (right.left, right.right) == pytest.approx((76.8, 100))  # 4 letters of 5.8


def test_labels_avoid_points_and_each_other():
    """Two points at one place: the first number takes the best place, the second the next one. A
    point above a name's place drives the name to another one."""
    places = value_places(100, 100, "0.1", 10)
    labels = least_overlap([places, places], [disk_box(100, 100)], top=0, right=500)
    assert labels == places[:2]
    names = name_places(100, 100, "ppo", 13)
    assert least_overlap([names], [disk_box(100, 100)], top=0, right=500) == [names[0]]
    [moved] = least_overlap([names], [disk_box(100, 100), disk_box(118, 100)], top=0, right=500)
    assert moved != names[0]
    assert moved.box.overlap(disk_box(118, 100)) == 0
    [inside] = least_overlap([names], [disk_box(100, 100)], top=0, right=105)
    assert inside.at_end
    [below] = least_overlap([names], [disk_box(100, 100), disk_box(118, 104)], top=95, right=500)
    assert below.box.top >= 95


def test_picture_is_well_formed_and_marks_over_optimisation(content):
    text = str(comparison_chart(content))
    root = ElementTree.fromstring(text)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("ppo") == 2  # at its line and in the list
    assert "over-optimised" in texts
    assert "KL is a bound" in texts
    assert any("no training; 8 responses per answer" in each for each in texts)
    crosses = re.findall(r'<line class="cross m0"', text)
    assert len(crosses) == 2  # one point, two strokes
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_names_are_escaped(content):
    evil = make_point("ppo", 0.3, 0.7, 4.0)
    object.__setattr__(evil.method, "name", "<script>")
    comparison = compare([evil])
    page = dict(content) | {
        "points": content_of(comparison, _zeros(), [], {})["points"],
        "best": content_of(comparison, _zeros(), [], {})["best"],
    }
    assert "<script>" not in str(comparison_chart(page))


def _zeros():
    from rlhf.pipeline.compare.points import Numbers

    row = POINTS[0].wins[0] * 0
    return Numbers(wins=row, kl=row, reward=row, score=row, length=row)


def test_page_has_verdict_picture_and_tables(content, comparison, tmp_path):
    write_results(tmp_path, content, comparison)
    page = write_page(tmp_path, content).read_text()
    assert "Take ppo (kl_coef 0.3)" in page
    assert page.count("<svg") == 1
    assert "<script" not in page
    assert page.count("seed 2</td>") == 4  # a row for each run
    assert "budget_responses: 640" in page
    table = (tmp_path / "compare.md").read_text()
    win_rate = content["points"][1]["win_rate"]
    assert win_rate["mde"] > 2.8016 * win_rate["se"]  # Student's t
    detects = f"{win_rate['mde']:.2f}"
    assert re.search(rf"\| ppo \| kl_coef 0.3 \| 0.70 \[.*?\], detects ± {detects} \|", table)
    assert f"], detects ± {win_rate['mde']:.2g}</td>" in page
    assert "≤ 1.20" in table
    assert "over-optimised" in table
    assert (tmp_path / "compare.svg").read_text().startswith("<svg")


def test_content_has_every_run_with_its_cost(content):
    [first, *_] = content["points"]
    assert [run["seed"] for run in first["runs"]] == [0, 1, 2]
    assert first["runs"][0]["responses"] == 640
    assert content["sft"]["score"] == 1.0
    assert content["points"][2]["peak"] == 0.3
    assert content["differences"][0]["other"]["method"] in ("dpo", "best_of_n")
