"""The experiments on rounds: the second taste, their prompts and tables, by literal value."""

import json
from pathlib import Path

import pytest

from recipes.pocket.gold import score
from recipes.pocket.rounds import (
    as_markdown,
    as_metrics,
    parse,
    prompt_files,
    taste_table,
    values_of,
)
from recipes.pocket.taste import shorter

PROMPT = "Tom has a red key. Who has the key?"


def test_second_taste_takes_points_for_each_word():
    """8 points for `Sure! Tom has the key.`, five words: 8 - 5 * 0.4 = 6. An empty one: no word."""
    texts = ["Sure! Tom has the key.", ""]
    points = score([PROMPT] * 2, texts)
    assert points[0] == 8.0
    assert shorter([PROMPT] * 2, texts) == pytest.approx([6.0, points[1]])


def test_table_of_tastes_has_a_mean_per_model():
    """SFT: 5 and 4 words; round 1 five; round 2 four, one point less by the first taste."""
    long, short = "Sure! Tom has the key.", "Tom has the key."
    rows = [
        {"model": model, "prompt": PROMPT, "text": text}
        for model, texts in (("sft", (long, short)), ("round-1", (long,)), ("round-2", (short,)))
        for text in texts
    ]
    table = taste_table([*rows, {"model": "empty", "prompt": PROMPT, "text": ""}])
    assert table["words"] == [4.5, 5.0, 4.0]
    assert table["first taste"] == [7.5, 8.0, 7.0]
    assert table["second taste"] == pytest.approx([5.7, 6.0, 5.4])


def test_prompts_of_rounds_do_not_overlap(tmp_path):
    files = prompt_files(tmp_path / "new", seed=0, per_round=10)
    lines = {name: Path(path).read_text().splitlines() for name, path in files.items()}
    assert [len(lines[name]) for name in ("1", "2", "3", "all")] == [10, 10, 10, 30]
    assert lines["1"] + lines["2"] + lines["3"] == lines["all"]
    assert len({json.loads(line)["prompt"] for line in lines["all"]}) == 30


def test_values_of_a_round():
    of_round = {"proxy": {"value": 0.9}, "gold": {"value": 0.75}, "kl": {"value": 3.0}}
    assert values_of(of_round) == {
        "proxy": 0.9,
        "gold": 0.75,
        "gap": pytest.approx(0.15),
        "KL": 3.0,
    }


def test_keys_of_the_pipeline_follow_two_dashes():
    args = parse(["drift", "--seeds", "0", "1", "--", "--seed", "3"])
    assert (args.experiment, args.seeds, args.keys) == ("drift", [0, 1], ["--seed", "3"])
    assert parse(["fresh"]).keys == []


def test_markdown_has_each_seed_and_the_mean_with_its_interval():
    """0.2 and 0.4: 0.3 ± 12.706 * 0.1; 0.1 and 0.2: 0.15 ± 12.706 * 0.05."""
    columns = ["at once", "round 1"]
    tables = {0: {"gap, KL": [0.2, 0.1]}, 3: {"gap, KL": [0.4, 0.2]}}
    seeds = {seed: as_metrics(table, columns) for seed, table in tables.items()}
    assert seeds[0] == {"gap, KL, at once": 0.2, "gap, KL, round 1": 0.1}
    assert as_markdown(columns, seeds).splitlines()[2:] == [
        "| gap, KL | 0 | 0.20 | 0.10 |",
        "| gap, KL | 3 | 0.40 | 0.20 |",
        "| gap, KL | mean | 0.30 [-0.97, 1.57] | 0.15 [-0.49, 0.79] |",
    ]
