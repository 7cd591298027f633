"""Annotator weights from models of the other half of the prompts."""

from dataclasses import replace

from rlhf.training.reward.annotators import ANNOTATORS
from rlhf.training.reward.cross_fit import weigh_annotators
from rlhf.training.reward.data import tokenize
from tests.errors import raises
from tests.training.tiny_runs import rankings, reward_setup


def test_single_prompt_cannot_be_split_into_halves(llama, tmp_path):
    """Two annotators on one prompt: there is no other half to train a model on."""
    rows = [replace(rankings(1)[0], annotator=name) for name in ("Ann", "Bob")]
    setup = reward_setup(llama, tmp_path, rows, annotator_weights="model", max_steps=2)
    with raises("key-conflict", "annotator_weights=model", 1):
        weigh_annotators(tokenize(setup.chat, rows), setup, resuming=False)


def test_half_without_ties_uses_threshold_of_all_rankings(llama, tmp_path):
    """One of 12 rankings ties two responses: one half has no tie to take a threshold from."""
    rows = [replace(row, annotator=name) for row in rankings(6, responses=2) for name in "AB"]
    rows[0] = replace(rows[0], ranks=[1, 1])
    setup = reward_setup(
        llama, tmp_path, rows, annotator_weights="model", max_steps=2, ties="rao_kupper"
    )
    weighted = weigh_annotators(tokenize(setup.chat, rows), setup, resuming=False)
    assert [row.ranks for row in weighted] == [row.ranks for row in rows]


def test_resumed_run_reads_annotator_weights(llama, tmp_path):
    """Two reliable annotators and one who reverses, on prompts that none of them share.

    Only the models of the other half can tell them apart. A resumed run reads the file.
    """
    rows = [
        replace(row, annotator="XYZ"[number % 3])
        for number, row in enumerate(rankings(150, responses=4))
    ]
    rows = [
        replace(row, ranks=[5 - rank for rank in row.ranks]) if row.annotator == "X" else row
        for row in rows
    ]
    setup = reward_setup(
        llama, tmp_path, rows, annotator_weights="model", max_steps=50,
        per_device_train_batch_size=8, learning_rate=3e-3,
    )  # fmt: skip
    tokenized = tokenize(setup.chat, rows)
    weighted = weigh_annotators(tokenized, setup, resuming=False)
    weights = {row.annotator: row.weights for row in weighted}
    assert weights["X"] == (0.0,)
    assert min(weights["Y"], weights["Z"]) > (1.2,)
    assert not (tmp_path / "cross_fit").exists()
    written = (tmp_path / ANNOTATORS).read_text().replace('"weight": 0.0', '"weight": 0.25')
    (tmp_path / ANNOTATORS).write_text(written)
    resumed = weigh_annotators(tokenized, setup, resuming=True)
    assert {row.annotator: row.weights for row in resumed}["X"] == (0.25,)
