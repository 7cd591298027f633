"""Create the folders that both engines load: policy, reward model, tokenizer and prompts."""

import json
import math
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.workloads import Workload
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model

PAD, EOS, UNKNOWN, FIRST_WORD = 0, 1, 2, 3
NUM_PROMPTS = 512
# Every embedding has this value in channel 0, and no layer writes to that channel. So channel 0 of
# the last hidden state is nearly constant, and the output layer computes the EOS logit from it.
CONSTANT = 64.0
NEVER = -30.0  # a logit
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }} {% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}"
)


def make_folders(workload: Workload, folder: Path, *, seed: int = 0) -> Path:
    """Write `policy/`, `reward_model/` and `prompts.jsonl` to `folder`; returns the folder."""
    torch.manual_seed(seed)
    policy = _policy(workload)
    policy.save_pretrained(folder / "policy")
    word_tokenizer(workload.vocab_size).save_pretrained(folder / "policy")
    chat = load_tokenizer(str(folder / "policy"))
    reward_model = new_reward_model(folder / "policy", seed=seed)
    save_reward_model(folder / "reward_model", reward_model, chat, 0.0, 1.0)
    rng = random.Random(seed)
    rows = [_prompt(workload, rng) for _ in range(NUM_PROMPTS)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return folder


def _policy(workload: Workload) -> PreTrainedModel:
    shape: dict[str, Any] = {
        "num_hidden_layers": workload.num_layers,
        "hidden_size": workload.hidden_size,
        "intermediate_size": workload.intermediate_size,
        "num_attention_heads": workload.num_heads,
        "num_key_value_heads": workload.num_kv_heads,
        "vocab_size": workload.vocab_size,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    model: Any = LlamaForCausalLM(LlamaConfig(**shape))
    model.generation_config.update(eos_token_id=EOS, pad_token_id=PAD)
    _fix_eos(model, workload)
    policy: PreTrainedModel = model.eval()
    return policy


@torch.no_grad()
def _fix_eos(model: Any, workload: Workload) -> None:
    """Give EOS the probability `eos_hazard` at every position, and pad and unknown probability 0.

    All other words are about equally likely, so the logit is log(h / (1 - h) * words).
    """
    model.model.embed_tokens.weight[:, 0] = CONSTANT
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[0] = 0.0
        layer.mlp.down_proj.weight[0] = 0.0
    words = torch.randint(FIRST_WORD, workload.vocab_size, (4, 64))
    states = model.model(input_ids=words).last_hidden_state
    constant = states[..., 0].mean()
    head = model.lm_head.weight
    head[:, 0] = 0.0
    rest = torch.logsumexp(states @ head[FIRST_WORD:].T, dim=-1).mean()
    hazard = workload.eos_hazard
    logit = rest + math.log(hazard / (1 - hazard)) if hazard else torch.tensor(NEVER)
    for token, value in ((PAD, NEVER), (UNKNOWN, NEVER), (EOS, float(logit))):
        head[token] = 0.0
        head[token, 0] = value / constant


def word_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word, so that text and ids are equivalent for both engines."""
    words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(FIRST_WORD, vocab_size))]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    make: Any = PreTrainedTokenizerFast
    return make(  # type: ignore[no-any-return]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        chat_template=TEMPLATE,
        padding_side="left",
    )


def _prompt(workload: Workload, rng: random.Random) -> dict[str, object]:
    length = rng.randint(*workload.prompt_lengths)
    ids = [rng.randrange(FIRST_WORD, workload.vocab_size) for _ in range(length)]
    return {"prompt": " ".join(f"w{i}" for i in ids), "ids": ids}
