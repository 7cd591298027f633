"""Who answers which prompts: every row once, and every rank like amounts."""

from types import SimpleNamespace

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.ppo.rollout import local_shard
from rlhf.types import PromptRow
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return load_tokenizer(str(make_model(tmp_path_factory.mktemp("rollout") / "policy")))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_prompts_are_split_over_ranks_by_length(chat, ranks):
    """Prompts of ever more words in a row: halves of them would be 21 and 57 words.

    Dealt out in the order of their lengths, no two ranks differ by more than the longest.
    """
    rows = [PromptRow(prompt="red " * words, columns={"words": words}) for words in range(1, 13)]
    batches = [
        local_shard(
            rows,
            chat,
            SimpleNamespace(process_index=rank, num_processes=ranks, device=torch.device("cpu")),
            num_generations=2,
        )
        for rank in range(ranks)
    ]
    loads = [int(batch.attention_mask.sum()) // 2 for batch in batches]
    longest = max(batch.input_ids.shape[1] for batch in batches)
    assert max(loads) - min(loads) <= longest
    assert sorted(int(row) for batch in batches for row in batch.row_ids) == list(range(24))
    for batch in batches:  # a row's id, its group and its columns say the same prompt everywhere
        assert batch.group_ids.tolist() == [row // 2 for row in batch.row_ids.tolist()]
        assert [c["words"] - 1 for c in batch.columns] == batch.group_ids.tolist()
