"""P(end): whether a model ends its responses, and LoRA on a base that never learned to."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlhf.data.tokenization.chat import sequence_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.models.lora import add_lora
from rlhf.models.save import save_policy
from rlhf.training.sft.end_token import end_probability, end_warnings, untrained_end_warnings
from rlhf.types import Demonstration
from tests.tiny_models import make_model

ROWS = [
    Demonstration(prompt="Where is it?", completion="In the box."),
    Demonstration(prompt="Name three animals.", completion="A cat, a dog and a bird."),
    Demonstration(prompt="Hi", completion="Hello."),
]
LORA = ModelConfig(model_name_or_path="x", use_peft=True)
SAVED = ModelConfig(
    model_name_or_path="x", use_peft=True, lora_modules_to_save=["embed_tokens", "lm_head"]
)


def test_end_probability_is_read_at_the_end_of_responses(tmp_path):
    """By hand: softmax of the logits at the last token before the end, averaged over rows."""
    folder = str(make_model(tmp_path, "qwen2"))
    chat, model = load_tokenizer(folder), load_policy(folder).eval()
    by_hand = []
    for row in ROWS:
        ids = torch.tensor(sequence_ids(chat, row.prompt, row.completion)[:-1])
        with torch.no_grad():
            logits = model(ids[None]).logits[0, -1]
        by_hand.append(logits.softmax(-1)[chat.end_token_id].item())
    assert end_probability(model, chat, ROWS) == pytest.approx(sum(by_hand) / 3, rel=1e-4)
    cut = replace(ROWS[0], fields={"cut": True})  # has no end
    others = end_probability(model, chat, [cut, *ROWS[1:]])
    assert others == pytest.approx(sum(by_hand[1:]) / 2, rel=1e-4)
    assert end_probability(model, chat, [cut]) is None


def test_low_end_probability_warns_with_a_key(tmp_path):
    chat = load_tokenizer(str(make_model(tmp_path, "qwen2")))
    assert end_warnings(0.9, LORA, chat) == []
    (warning,) = end_warnings(0.02, LORA, chat)
    assert "'<|im_end|>' has probability 0.02" in warning
    assert "lora_modules_to_save" in warning
    assert "lora_modules_to_save" not in end_warnings(0.02, SAVED, chat)[0]


def test_untrained_end_token_warns(tmp_path):
    folder = str(make_model(tmp_path, "qwen2"))
    chat, model = load_tokenizer(folder), load_policy(folder)
    assert untrained_end_warnings(model, LORA, chat) == []
    with torch.no_grad():
        model.get_output_embeddings().weight[chat.end_token_id] *= 0.01
    assert "never learned its end token" in untrained_end_warnings(model, LORA, chat)[0]
    assert untrained_end_warnings(model, SAVED, chat) == []
    whole = ModelConfig(model_name_or_path="x")
    assert untrained_end_warnings(model, whole, chat) == []


@pytest.mark.parametrize("family", ["qwen2", "gemma"])
def test_saved_modules_are_trained_and_loaded(tmp_path: Path, family: str):
    """Untied (Qwen2) and tied (Gemma): one step moves the end token's row; the folder holds it."""
    folder = str(make_model(tmp_path / "base", family))
    chat = load_tokenizer(folder)
    model = add_lora(load_policy(folder), SAVED, "CAUSAL_LM")
    before = model.get_output_embeddings().weight[chat.end_token_id].detach().clone()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ids = torch.tensor([sequence_ids(chat, "Hi", "Hello.")])
    loss = model(ids, labels=ids).loss
    loss.backward()
    torch.optim.SGD(trained, lr=1.0).step()
    after = model.get_output_embeddings().weight[chat.end_token_id]
    assert not torch.equal(before, after)
    model.eval()
    with torch.no_grad():
        wanted = model(ids).logits
    save_policy(tmp_path / "adapter", model, chat)
    with torch.no_grad():
        back = load_policy(tmp_path / "adapter").eval()(ids).logits
    torch.testing.assert_close(back, wanted, atol=1e-4, rtol=1e-4)
    assert math.isfinite(loss.item())
