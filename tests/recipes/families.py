"""The models of the named recipes in two layers with random weights, and their tokenizers in small.

A tokenizer has its family's special tokens, chat template, EOS and pad, start token and kind
(bytes, or SentencePiece for Gemma). Templates are those that TRL ships for the same checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import decoders, normalizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
    set_seed,
)

from tests.data.tokenization.small_tokenizers import byte_level, sentencepiece
from tests.data.tokenization.templates import template

QWEN2 = {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True}
QWEN3 = {**QWEN2, "model_type": "qwen3", "head_dim": 128, "num_key_value_heads": 8}
LLAMA = {"model_type": "llama", "vocab_size": 128256, "tie_word_embeddings": True}
SMOLLM2 = {**LLAMA, "vocab_size": 49152}


def _shape(hidden: int, inner: int, layers: int, heads: int, groups: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
    }


# The config.json of each recipe's model, as far as it sets the size.
SHAPES: dict[str, dict[str, object]] = {
    "smollm2-360m": SMOLLM2 | _shape(960, 2560, 32, 15, 5),
    "smollm2-1.7b": SMOLLM2 | _shape(2048, 8192, 24, 32, 32),
    "qwen2.5-0.5b": QWEN2 | _shape(896, 4864, 24, 14, 2),
    "qwen2.5-1.5b": QWEN2 | _shape(1536, 8960, 28, 12, 2),
    "qwen3-0.6b": QWEN3 | _shape(1024, 3072, 28, 16, 8),
    "qwen3-1.7b": QWEN3 | _shape(2048, 6144, 28, 16, 8),
    "qwen3-4b": QWEN3 | _shape(2560, 9728, 36, 32, 8),
    "llama-3.2-1b": LLAMA | _shape(2048, 8192, 16, 32, 8),
    "llama-3.2-3b": LLAMA | _shape(3072, 8192, 28, 24, 8),
    "gemma-3-1b": {
        **_shape(1152, 6912, 26, 4, 1),
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "head_dim": 256,
        "sliding_window": 512,
    },
    "olmo-2-1b": {
        **_shape(2048, 8192, 16, 16, 16),
        "model_type": "olmo2",
        "vocab_size": 100352,
    },
    "pythia-1b-tldr": {
        **_shape(2048, 8192, 16, 8, 8),
        "model_type": "gpt_neox",
        "vocab_size": 50304,
    },
}

THOUGHT = "<think>\n\n</think>\n\n"  # closed: enable_thinking is false
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
LLAMA_SYSTEM = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
CHATML_PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family's tokenizer, and what has to follow from it."""

    special: Sequence[str]  # special tokens; they get the first ids
    content: Sequence[str] = ()  # added tokens that are not special
    names: dict[str, str]  # eos_token, bos_token, pad_token, unk_token
    template: str | None = None
    generation_eos: Sequence[str]
    starts_with_bos: bool = False
    end: str  # what a response ends with
    pad: str  # what rlhf pads with
    prompt: str  # "Hi" as the model reads it, up to the response


ENDOFTEXT = {"eos_token": "<|endoftext|>"}
SMOLLM2 = Family(
    special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    names={**ENDOFTEXT, "bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    generation_eos=["<|endoftext|>"],
    end="<|im_end|>",
    pad="Ĕ",
    prompt=CHATML_PROMPT,
)
QWEN25 = Family(
    special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    content=["<tool_call>", "</tool_call>"],
    names={**ENDOFTEXT, "pad_token": "<|endoftext|>"},
    template="qwen2_5",
    generation_eos=["<|endoftext|>"],
    end="<|im_end|>",
    pad="Ĕ",
    prompt=f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n{CHATML_PROMPT}",
)
QWEN3 = Family(
    special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    content=[
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "</tool_response>",
        "<think>",
        "</think>",
    ],
    names={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    template="qwen3",
    generation_eos=["<|im_end|>", "<|endoftext|>"],
    end="<|im_end|>",
    pad="Ĕ",
    prompt=CHATML_PROMPT + THOUGHT,
)
LLAMA32 = Family(
    special=[
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ],
    names={"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    template="llama3_2",
    generation_eos=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    starts_with_bos=True,
    end="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    prompt="<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    f"{LLAMA_SYSTEM}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
)
GEMMA3 = Family(
    special=["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
    names={
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    },
    template="gemma3",
    generation_eos=["<eos>", "<end_of_turn>"],
    starts_with_bos=True,
    end="<end_of_turn>",
    pad="<pad>",
    prompt="<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
)
OLMO2 = Family(
    special=["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"],
    names={
        **ENDOFTEXT,
        "bos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|pad|>",
    },
    generation_eos=["<|endoftext|>"],
    end="<|im_end|>",
    pad="<|pad|>",
    prompt=CHATML_PROMPT,
)
PYTHIA = Family(
    special=["<|endoftext|>", "<|padding|>"],
    names={**ENDOFTEXT, "bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    generation_eos=["<|endoftext|>"],
    end="<|endoftext|>",
    pad="<|padding|>",
    prompt="Hi",  # raw: chat_template none
)
FAMILIES = {
    "smollm2-360m": SMOLLM2,
    "smollm2-1.7b": SMOLLM2,
    "qwen2.5-0.5b": QWEN25,
    "qwen2.5-1.5b": QWEN25,
    "qwen3-0.6b": QWEN3,
    "qwen3-1.7b": QWEN3,
    "qwen3-4b": QWEN3,
    "llama-3.2-1b": LLAMA32,
    "llama-3.2-3b": LLAMA32,
    "gemma-3-1b": GEMMA3,
    "olmo-2-1b": OLMO2,
    "pythia-1b-tldr": PYTHIA,
}


def save_config(name: str, folder: Path) -> None:
    """Save the config.json of the recipe's model."""
    shape = dict(SHAPES[name])
    AutoConfig.for_model(str(shape.pop("model_type")), **shape).save_pretrained(folder)


def make_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """The family's tokenizer with a vocabulary of bytes and few merges, or of letters."""
    special = list(family.special)
    small = sentencepiece(special) if family is GEMMA3 else byte_level(special)
    if family is GEMMA3:  # unlike Llama 2, no space before the first word
        small.normalizer = normalizers.Replace(" ", "▁")
        small.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    if family.starts_with_bos:
        bos = family.names["bos_token"]
        small.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, small.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=small, **family.names)
    tokenizer.add_tokens(list(family.content))
    tokenizer.chat_template = template(family.template) if family.template else None
    return tokenizer


def make_base(folder: Path, name: str) -> Path:
    """Save the recipe's model in two layers with random weights, and its tokenizer."""
    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    shape = small_shape(name) | {"vocab_size": len(tokenizer)}
    eos = tokenizer.convert_tokens_to_ids(list(family.generation_eos))
    config = AutoConfig.for_model(
        str(shape.pop("model_type")),
        **shape,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos if len(eos) > 1 else eos[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    set_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(
        eos_token_id=eos, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_shape(name: str) -> dict[str, object]:
    """The model's shape in two layers: its heads to a group, its ties, another width of heads.

    Qwen3's and Gemma's heads together are wider than the model, as in the checkpoints.
    """
    shape = dict(SHAPES[name])
    heads, groups = int(str(shape["num_attention_heads"])), int(str(shape["num_key_value_heads"]))
    small_groups = min(groups, 2)
    small_heads = small_groups * heads // groups
    shape |= {
        "num_hidden_layers": 2,
        "num_attention_heads": small_heads,
        "num_key_value_heads": small_groups,
        "hidden_size": 8 * small_heads,
        "intermediate_size": 64,
    }
    if "head_dim" in shape:
        shape["head_dim"] = 16
    if "sliding_window" in shape:
        shape |= {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    return shape
