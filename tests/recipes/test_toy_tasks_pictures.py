"""The figures of the toy tasks: methods below the frontier, and rewards from few labels."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from recipes.toy_tasks import draw_compare, draw_few_labels


def world(gain):
    """The metrics of a world in which best of N gains `gain`."""
    return {
        "frontier 1: gain": 1.4,
        "frontier 4: gain": 2.6,
        **metrics("ppo kl_coef 0.1", kl=4.0, gain=2.5),
        **metrics("ppo kl_coef 1", kl=0.5, gain=0.9),
        **metrics("best_of_n num_responses 8", kl=1.2, gain=gain),
    }


def metrics(name, *, kl, gain):
    return {f"{name}: efficiency": gain / 2.6, f"{name}: KL": kl, f"{name}: gain": gain}


def test_means_have_student_intervals():
    """1 and 3: deviation √2, standard error 1, quantile of one degree of freedom 12.706."""
    found = draw_compare.mean_of([1.0, 3.0])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, -10.706, 14.706), abs=1e-3)
    assert draw_compare.mean_of([2.0]).high == 2.0


def test_points_and_frontier_are_means_over_worlds():
    worlds = [world(1.0), world(1.2)]
    points = draw_compare.points_of(worlds)
    assert [(p.method, p.key, p.value) for p in points] == [
        ("ppo", "kl_coef", "0.1"),
        ("ppo", "kl_coef", "1"),
        ("best_of_n", "num_responses", "8"),
    ]
    assert points[2].gain.value == pytest.approx(1.1)
    assert [p.is_bound for p in points] == [False, False, True]
    assert draw_compare.frontier_of(worlds) == [(0.0, 0.0), (1.0, 1.4), (4.0, 2.6)]


def test_figure_is_well_formed(tmp_path, monkeypatch):
    figures, output = tmp_path / "figures.json", tmp_path / "compare.svg"
    figures.write_text(json.dumps({"0": world(1.0), "1": world(1.2)}))
    monkeypatch.setattr(sys, "argv", ["draw_compare.py", str(figures), "--output", str(output)])
    draw_compare.main()
    root = ElementTree.fromstring(output.read_text())
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("ppo") == 2  # at its line and in the list
    assert "≥ 0.42" in texts  # 1.1 / 2.6
    assert any("2 worlds" in text for text in texts)


def line(experiment, learner, value, *, world=0, pairs=2500, choices=2):
    return {
        "experiment": experiment,
        "learner": learner,
        "pairs": pairs,
        "choices": choices,
        "world": world,
        "efficiency": {"2": value},
    }


def test_few_labels_are_drawn_as_curves_and_changes_in_the_same_world(tmp_path, monkeypatch):
    """The change of rankings of 4 is 0.1 in one world and 0.2 in the other."""
    lines = [
        line("linear", "Bayes", 0.9),
        line("linear", "Bayes", 0.95, pairs=5000),
        line("linear", "Bayes", 0.97, choices=4),
        *(line("base", "last", 0.7 - world / 10, world=world) for world in (0, 1)),
        line("5000 pairs", "last", 0.8, pairs=5000),
        line("base", "best", 0.6),
        *(line("rankings of 4", "last", 0.8, world=w, choices=4) for w in (0, 1)),
    ]
    curves = draw_few_labels.curves_of(lines)
    assert curves == {
        "Bayes": {2500: [0.9], 5000: [0.95]},
        "reward model": {2500: [0.7, 0.6], 5000: [0.8]},
    }
    changes = draw_few_labels.changes_of(lines)
    assert list(changes) == ["base: best", "rankings of 4"]
    assert changes["rankings of 4"] == pytest.approx([0.1, 0.2])
    results, output = tmp_path / "results.jsonl", tmp_path / "few.svg"
    results.write_text("".join(json.dumps(each) + "\n" for each in lines))
    keys = [str(results), "--output", str(output), "--changes", "rankings of 4"]
    monkeypatch.setattr(sys, "argv", ["draw_few_labels.py", *keys])
    draw_few_labels.main()
    root = ElementTree.fromstring(output.read_text())
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"rankings of 4", "+0.150", "knows the family", "2,500"} <= set(texts)
