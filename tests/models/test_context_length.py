"""Rows beyond the positions that a model was trained on give a note or are bad rows."""

from pathlib import Path

from transformers import GPT2Config

from rlhf.models.context_length import beyond_training
from tests.tiny_models import make_model


def test_rows_beyond_rotary_positions_give_a_note(tmp_path: Path):
    """The tiny Llama has 256 positions."""
    folder = make_model(tmp_path / "model")
    assert beyond_training(folder, 256) == ()
    (note,) = beyond_training(folder, 257)
    assert "257 tokens" in note
    assert "256 positions" in note
    (note,) = beyond_training(folder, 300, (200, 100))
    assert "300 tokens" in note
    assert "max_prompt_length 200 + max_completion_length 100" in note


def test_table_of_positions_gives_no_note(tmp_path: Path):
    GPT2Config(n_positions=64).save_pretrained(tmp_path)
    assert beyond_training(tmp_path, 65) == ()
