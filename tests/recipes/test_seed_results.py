"""Files of results over seeds: lines, merging, means, and seeds that are not run again."""

import json
import sys

import pytest

from recipes.seed_results import Mean, add_seed, interval, mean_of, read_numbers, read_seeds
from recipes.toy_tasks import stage_runs


def test_means_have_student_intervals():
    """1 and 3: deviation √2, standard error 1, quantile of one degree of freedom 12.706."""
    found = mean_of([1.0, 3.0])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, -10.706, 14.706), abs=1e-3)
    assert mean_of([2.0]) == Mean(value=2.0, low=2.0, high=2.0, count=1)
    assert interval(found, 1) == "2.0 [-10.7, 14.7]"
    assert interval(mean_of([2.0])) == "2.00"


def test_lines_of_a_seed_are_merged_and_the_last_value_counts(tmp_path):
    path = tmp_path / "folder" / "results.jsonl"
    assert read_seeds(path) == {}
    add_seed(path, 3, {"KL": 1.23456789, "gate": "warn"}, threads=1)
    add_seed(path, 0, {"KL": 2.0}, threads=1)
    add_seed(path, 3, {"gold": 0.5, "gate": "pass"}, threads=2)
    assert list(read_seeds(path).items()) == [
        (0, {"KL": 2.0}),
        (3, {"KL": 1.23457, "gate": "pass", "gold": 0.5}),
    ]
    assert read_numbers(path)[3] == {"KL": 1.23457, "gold": 0.5}


def test_a_line_says_where_it_comes_from(tmp_path):
    path = tmp_path / "results.jsonl"
    add_seed(path, 0, {"KL": 1.0}, threads=2)
    line = json.loads(path.read_text())
    assert list(line) == ["seed", "metrics", "commit", "date", "threads", "versions"]
    assert (line["threads"], len(line["date"])) == (2, 10)
    assert {"torch", "transformers"} <= set(line["versions"])


def test_seeds_in_the_given_file_are_not_run_again(tmp_path, monkeypatch, capsys):
    published = tmp_path / "published.jsonl"
    add_seed(published, 1, {"KL": 7.0}, threads=1)
    ran = []

    def run(folder, seed, jobs):
        ran.append(seed)
        return {"KL": float(seed)}

    def call(*options):
        words = ["task.py", "--seeds", "0", "1", "--output_dir", str(tmp_path / "runs"), *options]
        monkeypatch.setattr(sys, "argv", words)
        stage_runs.run_seeds("task", "A task.", run)

    call("--results", str(published))
    assert ran == [0]
    assert read_numbers(published)[0] == {"KL": 0.0, "minutes of one thread": 0}
    assert "| KL | 3.50 [" in capsys.readouterr().out
    call("--results", str(published))
    assert ran == [0]
    call()  # without a file of its own the stages decide what runs
    assert ran == [0, 0, 1]
    assert read_numbers(tmp_path / "runs" / "results.jsonl")[1]["KL"] == 1.0
