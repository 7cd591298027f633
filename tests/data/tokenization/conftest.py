"""Tokenizers with the chat templates that TRL ships."""

from pathlib import Path

import pytest

from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from tests.data.tokenization.templates import write_tokenizer


@pytest.fixture
def load(tmp_path: Path):
    """`load(name, template_kwargs) -> ChatTokenizer` of one of TRL's templates."""

    def tokenizer(name: str, kwargs: dict[str, object] | None = None) -> ChatTokenizer:
        return load_tokenizer(write_tokenizer(tmp_path / name, name), template_kwargs=kwargs)

    return tokenizer
