"""Small tokenizers, saved like those of the hub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.data.tokenization.small_tokenizers import CHATML, Write, byte_level


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(kind, special, **names) -> folder` of a saved tokenizer."""

    def save(
        kind: Callable[[list[str]], Tokenizer],
        special: list[str],
        *,
        chat_template: str | None = None,
        generation_eos: list[int] | None = None,
        **names: str,
    ) -> str:
        fast = PreTrainedTokenizerFast(tokenizer_object=kind(special), **names)
        fast.chat_template = chat_template
        folder = tmp_path / "tokenizer"
        fast.save_pretrained(folder)
        if generation_eos is not None:
            config = json.dumps({"eos_token_id": generation_eos})
            (folder / "generation_config.json").write_text(config)
        return str(folder)

    return save


@pytest.fixture
def plain(write: Write) -> str:
    """A base model's tokenizer without a template: the supplied `plain` one is used."""
    return write(byte_level, ["<|pad|>", "<|end|>"], eos_token="<|end|>", pad_token="<|pad|>")


@pytest.fixture
def qwen(write: Write) -> str:
    """Like Qwen2.5's base: EOS and pad are <|endoftext|>, the template ends with <|im_end|>."""
    return write(
        byte_level,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        generation_eos=[0],
    )
