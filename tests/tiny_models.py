"""Two-layer models of several families with random weights and matching tokenizers.

They keep the special cases of each family. Qwen2 ends a turn with a token other than its EOS and
pads with the EOS. Llama adds a start token and has no pad token. Gemma ties its embeddings and
names the assistant "model". GPT-NeoX has no template, no pad token, and one special token for
everything. GPT-2 has learned position embeddings, these four have rotary ones. The others use
Llama's tokenizer: Mistral has sliding-window attention, Mixtral and Qwen3-MoE have experts, OPT and
Falcon compute their mask without position ids, and Mamba 2 has a state instead of keys and values.
"""

import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    GemmaConfig,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Mamba2Config,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3MoeConfig,
    set_seed,
)

FAMILIES = ("qwen2", "llama", "gemma", "gpt_neox")
TEXT = (
    "Where is the red ball? The red ball is in the box. Can you name three animals? "
    "A cat, a dog and a bird. Please tell me a short story about the sea. System User Assistant"
)
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def make_model(folder: Path, family: str = "llama", *, seed: int = 0) -> Path:
    """Save a model of `family` and its tokenizer in `folder`; returns the folder."""
    tokenizer = _tokenizer(family)
    config = _config(family, len(tokenizer))
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _config(family: str, vocab_size: int) -> PretrainedConfig:
    common = {**SHAPE, "vocab_size": vocab_size, "max_position_embeddings": 256, "bos_token_id": 0}
    if family == "qwen2":
        return Qwen2Config(
            **common, num_attention_heads=4, num_key_value_heads=2, eos_token_id=0, pad_token_id=0
        )
    if family == "llama":
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        return LlamaConfig(**common, **heads, eos_token_id=[1, 4], pad_token_id=None)
    if family == "wide_llama":  # heads of 32, the smallest that vLLM reads on a CPU
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
        return LlamaConfig(**common, **heads, eos_token_id=[1, 4], pad_token_id=None)
    if family == "mistral":
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 8}
        return MistralConfig(**common, **heads, eos_token_id=[1, 4], pad_token_id=None)
    if family in ("mixtral", "qwen3_moe"):
        experts = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
        experts["num_local_experts" if family == "mixtral" else "num_experts"] = 4
        config_class = MixtralConfig if family == "mixtral" else Qwen3MoeConfig
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
        return config_class(**common, **heads, **experts, eos_token_id=[1, 4], pad_token_id=None)
    if family in ("opt", "falcon"):
        config_class = OPTConfig if family == "opt" else FalconConfig
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        opt_keys = (
            {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0} if family == "opt" else {}
        )
        special_ids = {"bos_token_id": 0, "eos_token_id": [1, 4], "pad_token_id": None}
        return config_class(
            **shape, **opt_keys, **special_ids, vocab_size=vocab_size, max_position_embeddings=256
        )
    if family == "mamba2":
        state = {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 16}
        special_ids = {"bos_token_id": 0, "eos_token_id": [1, 4], "pad_token_id": None}
        return Mamba2Config(
            hidden_size=32,
            num_hidden_layers=2,
            expand=2,
            vocab_size=vocab_size,
            **state,
            **special_ids,
        )
    if family == "gemma":
        heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8}
        return GemmaConfig(**common, **heads, eos_token_id=[1, 3], pad_token_id=4)
    if family == "gpt2":
        return GPT2Config(
            vocab_size=vocab_size,
            n_positions=256,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
        )
    dropout = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    return GPTNeoXConfig(
        **common, **dropout, num_attention_heads=4, eos_token_id=0, pad_token_id=None
    )


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE on a few words; special tokens have the first ids, in their order."""
    shape = family if family in (*FAMILIES, "gpt2") else "llama"
    special_tokens, token_names, template = {
        "qwen2": (
            ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
            CHATML,
        ),
        "llama": (
            ["<|begin|>", "<|end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            {"bos_token": "<|begin|>", "eos_token": "<|end|>"},
            LLAMA,
        ),
        "gemma": (
            ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<pad>"],
            {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
            GEMMA,
        ),
        "gpt_neox": (["<|endoftext|>"], {"eos_token": "<|endoftext|>"}, None),
        "gpt2": (["<|endoftext|>"], {"eos_token": "<|endoftext|>"}, None),
    }[shape]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=special_tokens,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([TEXT, string.printable], trainer)
    if shape == "llama":
        bpe.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, chat_template=template, **token_names)
