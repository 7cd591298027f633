"""Which model won, by value."""

import json

import pytest
from rich.console import Console

from rlhf.labels.cli import main
from rlhf.labels.model_results import games_of, model_results
from rlhf.labels.records import Candidate, Label
from rlhf.labels.stats import label_stats
from rlhf.labels.stats_table import print_model_results, print_stats
from rlhf.labels.store import LabelStore
from tests.errors import raises


def results_of(store, **options):
    items = {item.id: item for item in store.items()}
    return model_results(games_of(items, store.labels(), **options))


def test_a_ranking_is_one_game_of_each_two_models(sqlite_store):
    """Ranks 1 and 3 of `a` against 2 and 4 of `b`: 1<2, 1<4, 3<4 won and 3<2 lost, ¾ of a win."""
    candidate = Candidate(prompt="p", responses=list("wxyz"), models=("a", "a", "b", "b"))
    sqlite_store.add_candidates([candidate])
    sqlite_store.submit(Label(item_id=1, annotator="ann", ranks=(1, 3, 2, 4)))
    results = results_of(sqlite_store)
    assert (results.games, results.prompts) == (1, 1)
    assert [(one.model, one.win_rate.value) for one in results.models] == [("a", 0.75), ("b", 0.25)]


def test_gold_items_repeats_and_items_without_models_make_no_game(sqlite_store):
    pair = Candidate(prompt="p", responses=("x", "y"), models=("a", "b"))
    sqlite_store.add_candidates([pair, Candidate(prompt="q", responses=("x", "y"))])
    for item, purpose in ((1, "gold"), (1, "repeat"), (1, "adjudication"), (2, "label")):
        sqlite_store.submit(Label(item_id=item, annotator="ann", ranks=(1, 2), purpose=purpose))
    results = results_of(sqlite_store)
    assert (results.games, results.models) == (0, [])
    console = Console(record=True, width=80)
    print_model_results(console, results)
    assert console.export_text() == ""


@pytest.fixture
def campaign(sqlite_store):
    """20 prompts, `a` against `b`. Ann prefers `a` at 15 of them, Bob ties all."""
    sqlite_store.add_candidates(
        [
            Candidate(
                prompt=f"p{i}",
                responses=("x", "y"),
                models=("a", "b"),
                columns={"category": "maths" if i < 10 else "chat", "topic": f"t{i % 2}"},
            )
            for i in range(20)
        ]
    )
    of_ann = [(1, 2)] * 15 + [(2, 1)] * 5
    for name, rankings in (("ann", of_ann), ("bob", [(1, 1)] * 20)):
        labels = [
            Label(item_id=item, annotator=name, ranks=ranks)
            for item, ranks in enumerate(rankings, 1)
        ]
        sqlite_store.submit_many(labels)
    return sqlite_store


def test_win_rates_by_category_and_annotator(campaign):
    """Ann: 15 of 20; in maths 10 of 10, in chat 5 of 10. With Bob's ties (15 + 10) / 40."""
    results = results_of(campaign)
    first, second = results.models
    assert (first.model, first.win_rate.value, first.games) == ("a", 0.625, 40)
    assert first.win_rate.n == 20  # prompts, the clusters of the interval
    assert results.by_annotator["ann"]["a"].value == 0.75
    assert results.by_annotator["bob"]["b"].value == 0.5
    assert results.by_category["maths"]["a"].value == 0.75
    assert results.by_category["chat"]["a"].value == 0.5
    assert set(results_of(campaign, category="topic").by_category) == {"t0", "t1"}
    beats, loses = results.head_to_head["a", "b"], results.head_to_head["b", "a"]
    assert (loses.value, loses.low, loses.high) == pytest.approx(
        (1 - beats.value, 1 - beats.high, 1 - beats.low)
    )
    assert first.strength.value == -second.strength.value > 0
    assert beats.mde == loses.mde == first.win_rate.mde
    # Prompts are won 15 times with 1 1/2 of 2 games and lost 5 times: s = √(20/19 · 15/320).
    error = (20 / 19 * (15 * 0.125**2 + 5 * 0.375**2) / 20) ** 0.5 / 20**0.5
    assert first.win_rate.mde == pytest.approx((2.0930 + 0.8610) * error, rel=1e-4)


def test_groups_that_differ_are_marked(campaign):
    """Ann prefers `a` at 15 of 20 prompts and Bob ties all, on the same prompts. With a win and a
    loss more of both the means are 16/22 and 1/2. SE² = (15 (6/22)² + 5 (16/22)² + 2 (5/22)²)/22² =
    0.007983, t = (5/22)/0.08935 = 2.544 with 21 degrees of freedom: p = 0.0189, and of two equal
    p-values q is the same. Topics t0 and t1 are won alike, 0.65 and 0.60."""
    results = results_of(campaign)
    assert results.q_by_annotator["ann"]["a"] == pytest.approx(0.0189, abs=1e-4)
    assert results.q_by_annotator["bob"]["b"] == pytest.approx(0.0189, abs=1e-4)
    assert results_of(campaign, category="topic").q_by_category["t0"]["a"] > 0.5
    console = Console(record=True, width=120)
    print_model_results(console, results)
    rows = {line.split()[0]: line for line in console.export_text().splitlines() if line.split()}
    assert rows["ann"].count("]*") == rows["bob"].count("]*") == 2


def test_two_annotators_of_a_prompt_do_not_narrow_the_interval(campaign):
    """Cat repeats Ann's label of every item: no new prompt, so the interval hardly changes."""
    alone = results_of(campaign).by_annotator["ann"]["a"]
    for item in range(1, 21):
        campaign.submit(
            Label(item_id=item, annotator="cat", ranks=(1, 2) if item <= 15 else (2, 1))
        )
    items = {item.id: item for item in campaign.items()}
    both = [label for label in campaign.labels() if label.annotator != "bob"]
    doubled = model_results(games_of(items, both)).models[0].win_rate
    assert (doubled.value, doubled.low, doubled.high) == (alone.value, alone.low, alone.high)


def test_table_names_models_and_groups(campaign):
    console = Console(record=True, width=100)
    print_model_results(console, results_of(campaign))
    text = console.export_text()
    assert "0.62 [" in text
    assert "± 0.15" in text
    for name in ("maths", "chat", "ann", "bob", "20 prompts"):
        assert name in text


def test_strengths_of_few_prompts_have_no_interval(sqlite_store):
    """Two prompts: the strength is printed alone, and the win rate with its interval."""
    for prompt in ("p", "q"):
        sqlite_store.add(prompt, ["x", "y"], ranks=[1, 2], annotator="ann", models=["a", "b"])
    results = results_of(sqlite_store)
    console = Console(record=True, width=100)
    print_model_results(console, results)
    [row] = [line for line in console.export_text().splitlines() if line.strip().startswith("a ")]
    assert row.split() == ["a", "0.80", "1.00", "[0.34,", "1.00]", "2"]
    assert "inf" not in console.export_text(clear=False)


def test_votes_of_visitors_are_one_annotator_and_in_no_other_statistic(sqlite_store):
    """Two votes of visitors and a label of Ann: three games, and one label in the statistics."""
    pair = Candidate(prompt="p", responses=("x", "y"), models=("a", "b"))
    sqlite_store.add_candidates([pair])
    for name in ("visitor-1", "visitor-2"):
        extra = {"arena": True}
        sqlite_store.submit(Label(item_id=1, annotator=name, ranks=(1, 2), extra=extra))
    sqlite_store.submit(Label(item_id=1, annotator="ann", ranks=(2, 1)))
    results = results_of(sqlite_store)
    assert results.by_annotator["(visitors)"]["a"].value == 1.0
    assert results.by_annotator["ann"]["a"].value == 0.0
    assert results.games == 3
    stats = label_stats(sqlite_store)
    assert (stats.names, stats.labels, stats.visitors_votes) == (["ann"], 1, 2)
    console = Console(record=True, width=100)
    print_stats(console, stats, with_gold=False)
    assert "2 votes of the arena's visitors" in console.export_text()


def test_command_writes_all_figures_as_json(tmp_path, capsys):
    """Two models, one game; alpha needs a second annotator and is null."""
    path, output = str(tmp_path / "labels.sqlite"), tmp_path / "out" / "stats.json"
    with LabelStore(path) as store:
        store.add("p", ["x", "y"], ranks=[1, 2], annotator="ann", models=["a", "b"])
    assert main(["stats", "--store", path, "--output", str(output)]) == 0
    assert "Krippendorff" in capsys.readouterr().out
    assert output.stat().st_mode & 0o777 == 0o600  # it has the annotators' names
    written = json.loads(output.read_text())
    assert (written["labels"], written["alpha"]["value"]) == (1, None)
    models = written["models"]
    assert [one["model"] for one in models["models"]] == ["a", "b"]
    assert models["head_to_head"]["a"]["b"]["value"] == 1.0
    assert models["models"][0]["win_rate"]["mde"] > 0.5  # a single prompt
    strength = models["models"][0]["strength"]
    assert strength["value"] > 0
    assert (strength["low"], strength["high"], "mde" in strength) == (None, None, False)
    assert models["by_annotator"]["ann"]["b"]["value"] == 0.0
    with raises("bad-value", str(tmp_path)):
        main(["stats", "--store", path, "--output", str(tmp_path)])
