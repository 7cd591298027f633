"""Rows beyond the positions that a model was trained on: said where they can be computed."""

from pathlib import Path

from transformers import GPT2Config

from rlhf.models.context_length import beyond_training
from tests.tiny_models import make_model


def test_rotary_positions_go_on_and_it_is_said(tmp_path: Path):
    """The tiny Llama has 256 positions."""
    folder = make_model(tmp_path / "model")
    assert beyond_training(folder, 256) == ()
    (said,) = beyond_training(folder, 257)
    assert "257 tokens" in said
    assert "256 positions" in said


def test_a_table_of_positions_is_none_of_its_business(tmp_path: Path):
    GPT2Config(n_positions=64).save_pretrained(tmp_path)
    assert beyond_training(tmp_path, 65) == ()
