"""An untrained model of about 100,000 weights over a handful of symbols.

A text is a list of symbols separated by spaces, one token each. A conversation is

    PROMPT <|answer|> RESPONSE <|end|>

Nothing is pretrained: such a model learns everything in SFT.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END, ANSWER = "<|pad|>", "<|end|>", "<|answer|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|answer|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)


def make_tokenizer(
    symbols: Sequence[str],
    *,
    control: Sequence[str] = (),
    chat_template: str = CHAT_TEMPLATE,
    response_template: Mapping[str, object] | None = None,
) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per symbol; other text is not expected.

    Args:
        symbols: the vocabulary, without special tokens.
        control: special tokens of the template, apart from <|answer|> and <|end|>.
        chat_template: the template.
        response_template: how transformers parses what the model writes, for tool calls.
    """
    special = [ANSWER, *control]
    vocabulary = {word: i for i, word in enumerate([PAD, END, *special, *symbols])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template
    if response_template is not None:
        fast.response_template = dict(response_template)
    return fast


def make_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    hidden_size: int = 64,
    num_hidden_layers: int = 2,
    num_attention_heads: int = 4,
) -> None:
    """Write an untrained Llama and its tokenizer into `folder`, unless it already has a model.

    The default has 100,352 weights with sixteen symbols.

    Args:
        folder: folder of the model.
        tokenizer: see `make_tokenizer`.
        seed: seed of the weights.
        hidden_size: width of the model.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
    """
    if (folder / "model.safetensors").exists():
        return
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=hidden_size * 43 // 16,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
