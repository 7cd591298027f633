"""Rows beyond the positions that a model was trained on: said where they can be computed."""

from pathlib import Path

from transformers import GPT2Config

from rlhf.models.context_length import beyond_training
from tests.tiny_models import make_model


def test_rows_beyond_rotary_positions_give_a_note(tmp_path: Path):
    """The tiny Llama has 256 positions."""
    folder = make_model(tmp_path / "model")
    assert beyond_training(folder, 256) == ()
    (said,) = beyond_training(folder, 257)
    assert "257 tokens" in said
    assert "256 positions" in said


def test_table_of_positions_gives_no_note(tmp_path: Path):
    GPT2Config(n_positions=64).save_pretrained(tmp_path)
    assert beyond_training(tmp_path, 65) == ()
