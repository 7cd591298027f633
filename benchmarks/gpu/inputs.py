"""A policy and a reward model with random weights, and rows of fixed lengths.

Called with JOB.json and RESULT.json. A word is a token. prompts.jsonl is written last: where it is,
the rest is complete.
"""

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from benchmarks.gpu.exchange import device, read_job, write_result
from benchmarks.gpu.sections import Sizes
from benchmarks.gpu.work import EXAMPLES_PER_ROW
from benchmarks.models import EOS, FIRST_WORD, PAD, word_tokenizer
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.models.shape import ModelShape

PROMPTS = 64  # more than a run reads


def main() -> None:
    """Write the folder."""
    job = read_job()
    folder, shape = Path(job["folder"]), ModelShape(**job["shape"])
    policy = make_policy(job["family"], shape)
    policy.save_pretrained(folder / "policy")
    word_tokenizer(shape.vocab_size).save_pretrained(folder / "policy")
    chat = load_tokenizer(str(folder / "policy"))
    reward_model = new_reward_model(folder / "policy", seed=0, dtype=torch.bfloat16)
    save_reward_model(folder / "reward_model", reward_model, chat, 0.0, 1.0)
    write_rows(folder, Sizes(**job["sizes"]), shape.vocab_size)
    write_result({"parameters": sum(weight.numel() for weight in policy.parameters())})


def make_policy(family: str, shape: ModelShape) -> Any:
    """The language model, in bfloat16. It makes all words about equally likely, and its EOS too."""
    sizes: dict[str, Any] = {
        "num_hidden_layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    torch.manual_seed(0)
    with device():
        model: Any
        if family == "llama":
            model = LlamaForCausalLM(LlamaConfig(**sizes))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    model.generation_config.update(eos_token_id=EOS, pad_token_id=PAD)
    return model.to(torch.bfloat16)


def write_rows(folder: Path, sizes: Sizes, vocab_size: int) -> None:
    """Write demonstrations, pairs and prompts, as many as the steps read."""
    draw, steps = random.Random(0), 1 + sizes.steps
    example = sizes.row_tokens // EXAMPLES_PER_ROW

    def words(number: int) -> str:
        return " ".join(f"w{draw.randrange(FIRST_WORD, vocab_size)}" for _ in range(number))

    # A response has its EOS in addition to its words.
    demonstrations = (
        {"prompt": words(example // 2), "completion": words(example - example // 2 - 1)}
        for _ in range(EXAMPLES_PER_ROW * sizes.sft_rows * steps)
    )
    pairs = (
        {
            "prompt": words(sizes.prompt_tokens),
            "chosen": words(sizes.response_tokens),
            "rejected": words(sizes.response_tokens),
        }
        for _ in range(sizes.pairs * steps)
    )
    prompts = ({"prompt": words(sizes.prompt_tokens)} for _ in range(sizes.responses + PROMPTS))
    _write(folder / "demonstrations.jsonl", demonstrations)
    _write(folder / "pairs.jsonl", pairs)
    _write(folder / "prompts.jsonl", prompts)


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
