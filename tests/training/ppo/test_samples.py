"""samples/tokens.jsonl and samples/embeddings.npz of a tiny run, against the model itself."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.training.ppo.samples import pieces, write_embeddings, write_tokens
from tests.training.ppo.tiny_ppo import ROWS, experience_from, make_folder, trainer


@pytest.mark.parametrize("changes", [{}, {"mode": "lora"}])
def test_token_values_and_prompt_embeddings(tmp_path, changes):
    """KL is log(policy/reference), 0 before training; a padded prompt has its own embedding."""
    folder = make_folder(tmp_path / "models")
    ppo = trainer(folder, tmp_path / "run", **changes)
    scored = ppo.sampler.score_held_out(0)
    scores = scored.scores.scores.tolist()
    advantages = experience_from(ppo, scored).advantages
    write_tokens(tmp_path, scored, advantages, ppo.setup.chat, {"best": [0], "worst": [2]}, scores)
    write_embeddings(tmp_path, ppo.models.policy, scored.rollouts, scores)
    lines = (tmp_path / "samples" / "tokens.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["kind"], row["prompt"]) for row in rows] == [
        ("best", ROWS[0].prompt),
        ("worst", ROWS[2].prompt),
    ]
    mask = scored.rollouts.response_mask
    assert len(rows[0]["tokens"]) == len(rows[0]["values"]) == int(mask[0].sum())
    assert rows[0]["kl"] == pytest.approx([0.0] * len(rows[0]["kl"]), abs=1e-3)
    content = np.load(tmp_path / "samples" / "embeddings.npz")
    ids = torch.tensor([prompt_ids(ppo.setup.chat, ROWS[0].prompt)])
    states = ppo.models.policy(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    wanted = states[0].mean(0).detach().numpy()
    assert content["embeddings"][0] == pytest.approx(wanted, abs=5e-3)
    assert content["scores"] == pytest.approx(scores)


@pytest.mark.parametrize("marks", ["▁", None])
def test_pieces_keep_the_space_before_a_word(marks):
    """With SentencePiece's mark for a space, which a token by itself loses, and with bytes."""
    if marks:
        words = {"<unk>": 0, "▁A": 1, "▁red": 2, "▁c": 3, "at": 4}
        tokenizer = Tokenizer(BPE(words, [], unk_token="<unk>"))
        tokenizer.decoder = decoders.Metaspace()
    else:
        words = {"A": 1, "Ġred": 2, "Ġc": 3, "at": 4}
        tokenizer = Tokenizer(BPE(words, []))
        tokenizer.decoder = decoders.ByteLevel()
    chat = SimpleNamespace(tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert pieces(chat, [1, 2, 3, 4]) == ["A", " red", " c", "at"]
