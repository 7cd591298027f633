"""A model that generates a fixed script: each token depends only on the one before it."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import trl
from transformers import AddedToken, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from tests.tiny_models import make_model

THOUGHT = ["Hm, ", "let me ", "see."]
SCRIPT = ["<think>", *THOUGHT, "</think>", "A dog", ", I say."]
END = "<|im_end|>"


def make_scripted(
    folder: Path, template: str = "qwen3", script: Sequence[str] = SCRIPT, *, end: str = END
) -> Path:
    """A model with one of TRL's chat templates whose response is `script`, a token per text.

    The residual stream is the last token's own axis, and the head has one row for its successor.
    The prompt ends with a line break, and each text of the script occurs once.

    Args:
        folder: where the model is saved.
        template: name of the chat template.
        script: the texts of the response.
        end: what follows the script; with a text of the script the model repeats it forever.
    """
    tokenizer = AutoTokenizer.from_pretrained(make_model(folder / "tokenizer", "qwen2"))
    tokens = dict.fromkeys(["<think>", "</think>", *script])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in tokens])
    path = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    width = len(tokenizer) + len(tokenizer) % 2
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.convert_tokens_to_ids(END),
        )
    )
    [start] = tokenizer("\n", add_special_tokens=False)["input_ids"]
    ids = [start, *tokenizer.convert_tokens_to_ids([*script, end])]
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), width))
        for before, following in pairwise(ids):
            model.lm_head.weight[following, before] = 4.0  # of logits of 4 sqrt(width)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"
