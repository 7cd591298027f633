"""The figures of the toy tasks: methods below the frontier, and rewards from few labels."""

import sys
import xml.etree.ElementTree as ElementTree

import pytest

from recipes.seed_results import add_seed
from recipes.toy_tasks import (
    compare_points,
    draw_compare,
    draw_few_labels,
    draw_methods,
    methods_found,
)
from recipes.toy_tasks.few_labels_found import Learner, learner_of


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
    values = {"efficiency": gain / 2.6, "KL": kl, "gain": gain, "win rate": 0.9}
    cost = {} if "best_of_n" in name else {"responses": 15360, "tokens": 500000}
    return {f"{name}: {metric}": value for metric, value in {**values, **cost}.items()}


def test_points_and_frontier_are_means_over_worlds():
    worlds = [world(1.0), world(1.2)]
    points = compare_points.points_of(worlds)
    assert [(p.method, p.key, p.value) for p in points] == [
        ("ppo", "kl_coef", "0.1"),
        ("ppo", "kl_coef", "1"),
        ("best_of_n", "num_responses", "8"),
    ]
    assert points[2].gain.value == pytest.approx(1.1)
    assert [p.is_bound for p in points] == [False, False, True]
    assert compare_points.frontier_of(worlds) == [(0.0, 0.0), (1.0, 1.4), (4.0, 2.6)]


def test_efficiency_at_a_kl_is_linear_in_its_root():
    """Of PPO between √0.5 and √4 nats: 1 nat is (1 - 0.7071) / (2 - 0.7071) = 0.2265 of the way
    from 0.9 / 2.6 to 2.5 / 2.6. Beyond the strengths it is that of the nearest one."""
    ppo = compare_points.points_of([world(1.0)])[:2]
    assert compare_points.efficiency_at(world(1.0), ppo, 1.0) == pytest.approx(
        (0.9 + 0.2265 * 1.6) / 2.6, abs=1e-4
    )
    ends = [compare_points.efficiency_at(world(1.0), ppo, kl) for kl in (0.1, 9.0)]
    assert ends == pytest.approx([0.9 / 2.6, 2.5 / 2.6])


def test_tables_have_means_over_worlds_and_differences_in_the_same_world():
    """Gains of best of N of 1.0 and 1.2 at 1.2 nats: 1.1 ± 12.706 * 0.1 and 0.423 ± 0.489 of 2.6;
    PPO has 0.4855 in both worlds."""
    worlds = [world(1.0), world(1.2)]
    rows = compare_points.table_of_points(worlds).splitlines()
    assert rows[-1] == (
        "| best_of_n | `num_responses` 8 | ≥ 0.42 [-0.07, 0.91] | ≤ 1.20 [1.20, 1.20] | "
        "1.10 [-0.17, 2.37] | 0.900 [0.900, 0.900] |  |  |"
    )
    assert rows[2].endswith("| 15,360 | 500,000 |")
    assert compare_points.table_of_methods(worlds).splitlines()[2:] == [
        "| ppo | 0.49 [0.49, 0.49] |  |",
        "| best_of_n | ≥ 0.42 [-0.07, 0.91] | ≥ -0.06 [-0.55, 0.43] |",
    ]


def test_figure_is_well_formed(tmp_path, monkeypatch):
    results, output = tmp_path / "results.jsonl", tmp_path / "compare.svg"
    for seed, gain in enumerate((1.0, 1.2)):
        add_seed(results, seed, world(gain), threads=1)
    monkeypatch.setattr(sys, "argv", ["draw_compare.py", str(results), "--output", str(output)])
    draw_compare.main()
    root = ElementTree.fromstring(output.read_text())
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("ppo") == 2  # at its line and in the list
    assert "≥ 0.42" in texts  # 1.1 / 2.6
    assert any("2 worlds" in text for text in texts)


def methods_world(grpo, gspo):
    """The metrics of a world of methods.py; KL and iterations are those of every world."""
    return {
        f"{name}: {measure}": value
        for name, efficiency in (("grpo", grpo), ("gspo", gspo))
        for measure, value in {
            "efficiency": efficiency,
            "KL": 4.0,
            "iterations to 90% of its gain": 20,
        }.items()
    }


def test_methods_are_compared_in_the_same_world(tmp_path, monkeypatch):
    """GRPO has 0.8 and 0.9, GSPO 0.02 more and the same: a difference of 0.01 ± 12.706 * 0.01.
    A method that one world lacks is left out."""
    worlds = [methods_world(0.8, 0.82) | {"rloo: efficiency": 0.9}, methods_world(0.9, 0.9)]
    assert methods_found.table_of_methods(worlds).splitlines()[2:] == [
        "| grpo | 0.850 [0.215, 1.485] |  | 4.0 [4.0, 4.0] | 20 [20, 20] |",
        "| gspo | 0.860 [0.352, 1.368] | 0.010 [-0.117, 0.137] | 4.0 [4.0, 4.0] | 20 [20, 20] |",
    ]
    results, output = tmp_path / "results.jsonl", tmp_path / "methods.svg"
    for seed, each in enumerate(worlds):
        add_seed(results, seed, each, threads=1)
    monkeypatch.setattr(sys, "argv", ["draw_methods.py", str(results), "--output", str(output)])
    draw_methods.main()
    root = ElementTree.fromstring(output.read_text())
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"grpo", "gspo", "0.85", "4.0", "20"} <= set(texts)
    assert "rloo" not in texts


def learner(experiment, name, value, *, pairs=2500, choices=2):
    return {Learner(experiment, name, pairs, choices).metric("2 nats"): value}


def drawn_worlds():
    """Two worlds. Rankings of 4 change the reward model by 0.1 and by 0.2."""
    return {
        0: {
            **learner("linear", "Bayes", 0.9),
            **learner("linear", "Bayes", 0.95, pairs=5000),
            **learner("linear", "Bayes", 0.97, choices=4),
            **learner("base", "last", 0.7),
            **learner("base", "best", 0.6),
            **learner("5000 pairs", "last", 0.8, pairs=5000),
            **learner("rankings of 4", "last", 0.8, choices=4),
            "base | held-out loss": 0.6,
        },
        1: {
            **learner("base", "last", 0.6),
            **learner("rankings of 4", "last", 0.8, choices=4),
        },
    }


def test_few_labels_are_drawn_as_curves_and_changes_in_the_same_world(tmp_path, monkeypatch):
    worlds = drawn_worlds()
    assert draw_few_labels.curves_of(worlds) == {
        "Bayes": {2500: [0.9], 5000: [0.95]},
        "reward model": {2500: [0.7, 0.6], 5000: [0.8]},
    }
    changes = draw_few_labels.changes_of(worlds)
    assert list(changes) == ["base: best", "rankings of 4"]
    assert changes["rankings of 4"] == pytest.approx([0.1, 0.2])
    results, output = tmp_path / "results.jsonl", tmp_path / "few.svg"
    for number, metrics in worlds.items():
        add_seed(results, number, metrics, threads=1)
    keys = [str(results), "--output", str(output), "--changes", "rankings of 4"]
    monkeypatch.setattr(sys, "argv", ["draw_few_labels.py", *keys])
    draw_few_labels.main()
    root = ElementTree.fromstring(output.read_text())
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"rankings of 4", "+0.150", "knows the family", "2,500"} <= set(texts)


def test_metrics_of_learners_are_read_back():
    learner = Learner("DPO, rankings of 4", "mean of 3: all", 2500, 4)
    assert learner_of(learner.metric("0.5 nats")) == (learner, "0.5 nats")
    assert learner_of("base | held-out loss") is None
