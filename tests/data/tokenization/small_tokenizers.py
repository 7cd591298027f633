"""Small tokenizers of the kinds that real checkpoints have."""

from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXT = [
    "The user asks the assistant. System: User: Assistant: a short question.",
    "Name three things, in two words. I do not know that, sorry. Hello there, you!",
] * 4

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Write = Callable[..., str]


def byte_level(special: list[str]) -> Tokenizer:
    """The kind of GPT-2, GPT-NeoX, Qwen2 and Llama 3: bytes and merges, no unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def sentencepiece(special: list[str]) -> Tokenizer:
    """The kind of Llama 2 and Gemma: spaces are part of words, unknown letters become bytes."""
    vocabulary = {token: i for i, token in enumerate(special)}
    for token in [f"<0x{byte:02X}>" for byte in range(256)] + sorted(set("".join(TEXT))):
        vocabulary.setdefault("▁" if token == " " else token, len(vocabulary))
    model = models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer
