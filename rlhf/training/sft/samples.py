"""The prompts of SFT's samples, and how the trained model reads prompts."""

import random
from dataclasses import replace

from rlhf.data.tokenization.texts import opening
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.training.sft.setup import SFTSetup
from rlhf.types import Demonstration, Prompt


def sampling_chat(setup: SFTSetup) -> ChatTokenizer:
    """The tokenizer to sample with: prompts stay raw where all training rows are plain texts."""
    return replace(setup.chat, template_source="none") if _only_texts(setup) else setup.chat


def sample_prompts(setup: SFTSetup) -> list[Prompt]:
    """Prompts for samples/, held-out ones where there are any; the same on every process.

    They are prompts of demonstrations; where all training rows are texts, beginnings of texts.
    """
    kind = str if _only_texts(setup) else Demonstration
    held_out = [row for row in setup.rows.held_out if isinstance(row, kind)]
    rows = held_out or [row for row in setup.rows.train if isinstance(row, kind)]
    chosen = random.Random(setup.run.seed).sample(rows, min(setup.config.num_samples, len(rows)))
    return [opening(row) if isinstance(row, str) else row.prompt for row in chosen]


def _only_texts(setup: SFTSetup) -> bool:
    return all(isinstance(row, str) for row in setup.rows.train)
