"""Rows beyond a model's positions: said where they can be computed, refused where they cannot."""

from pathlib import Path

import pytest
from tiny_models import make_model
from transformers import GPT2Config

from rlhf.errors import ConfigError
from rlhf.models.positions import check_positions


def test_rotary_positions_go_on_and_it_is_said(tmp_path: Path):
    """The tiny Llama has 256 positions."""
    folder = make_model(tmp_path / "model")
    assert check_positions(folder, 256) == ()
    (said,) = check_positions(folder, 257)
    assert "257 tokens" in said
    assert "256 positions" in said


def test_a_table_of_positions_ends(tmp_path: Path):
    GPT2Config(n_positions=64).save_pretrained(tmp_path)
    assert check_positions(tmp_path, 64) == ()
    with pytest.raises(ConfigError, match=r"up to 65 tokens.* has 64 positions; lower max_length"):
        check_positions(tmp_path, 65)
