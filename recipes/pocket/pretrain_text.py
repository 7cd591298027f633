"""Text of the bundled model: its tokenizer, and the rows of each step."""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from recipes.pocket.pretrain_config import PretrainConfig, stage_of
from recipes.pocket.world.documents import documents

PAD, END, ROLES = "<|pad|>", "<|end|>", ("<|user|>", "<|assistant|>", "<|system|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(config: PretrainConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the world's text; it has every byte, so nothing is unknown.

    A space is added before every line and removed in decoding. So a word is the same token at the
    start of a line, at the start of a response and inside a sentence, and is easy to look up.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteLevel(),
            decoders.Replace("\n ", "\n"),
            decoders.Replace(Regex(r"(?<=\|>) "), ""),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stream = documents(f"{config.seed} tokenizer")
    tokenizer.train_from_iterator((next(stream) for _ in range(20_000)), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def rows_of_documents(
    tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, step: int | str, length: int
) -> Tensor:
    """int64 [B, length]: whole documents of one step, each with an EOS, padded on the right.

    Documents longer than a row are skipped; shorter ones share a row. B times `length` is
    `tokens_per_step`. The text depends only on the seed and the step, so a resumed run gets the
    same text.
    """
    stage = stage_of(config, step) if isinstance(step, int) else "everything"
    stream = documents(f"{config.seed} {step}", stage=stage)
    size = config.tokens_per_step // length
    rows: list[list[int]] = [[]]
    while len(rows) <= size:
        for ids in tokenizer([next(stream) for _ in range(64)])["input_ids"]:
            if len(ids) + 1 > length:
                continue
            if len(rows[-1]) + len(ids) + 1 > length:
                rows.append([])
            rows[-1] += [*ids, tokenizer.eos_token_id]
    pad = tokenizer.pad_token_id
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows[:size]])
