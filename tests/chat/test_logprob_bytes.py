"""The bytes of a response's tokens join to the response; parts of characters have names."""

from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from rlhf.chat.engine import GeneratedToken
from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.logprobs import TokenBytes, bytes_of_tokens, chat_logprobs, text_logprobs
from rlhf.chat.web.sse import ResponseChunk
from rlhf.data.tokenization.chat import decode
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "Where is the red ball?"}]


def sentencepiece() -> ChatTokenizer:
    """Like Llama 2's: a space is ▁, text outside the vocabulary is encoded byte by byte, and the
    first space of a text is removed."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁A", "b", "▁c"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    bpe = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    bpe.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    space = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    bpe.decoder = decoders.Sequence([*space, decoders.Strip(" ", 1, 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
    return ChatTokenizer(
        tokenizer=tokenizer, template_source="tokenizer", eos_token_ids=(2,), end_token_id=2
    )


def chunk_of(
    chat: ChatTokenizer, pieces: list[str], likeliest: list[str] | None = None
) -> ResponseChunk:
    """These tokens as one chunk of a response."""
    ids = chat.tokenizer.convert_tokens_to_ids(pieces)
    best = [(i, -1.0) for i in chat.tokenizer.convert_tokens_to_ids(likeliest or [])]
    tokens = [GeneratedToken(id=i, logprob=-2.0, likeliest=best, finish="") for i in ids]
    return ResponseChunk(index=0, text=decode(chat, ids), tokens=tokens, finish="")


def test_byte_fallback_tokens_have_their_own_bytes():
    """U+4E2D is E4 B8 AD; the space of the first piece is not in the text."""
    chat = sentencepiece()
    chunk = chunk_of(chat, ["▁A", "<0xE4>", "<0xB8>", "<0xAD>", "b", "▁c"])
    assert chunk.text == "A中b c"
    per_token = bytes_of_tokens(TokenBytes(chat, partial=""), chunk)
    assert per_token == [b"A", b"\xe4", b"\xb8", b"\xad", b"b", b" c"]
    content = chat_logprobs(TokenBytes(chat, partial=""), [chunk])["content"]
    assert [entry["token"] for entry in content] == ["A", "\\xe4", "\\xb8", "\\xad", "b", " c"]
    assert content[1]["bytes"] == [0xE4]


def test_text_completions_name_parts_of_characters():
    """Offsets count characters; the parts of one begin where it begins."""
    chat = replace(sentencepiece(), template_source="none")
    chunk = chunk_of(chat, ["▁A", "<0xE4>", "<0xB8>", "<0xAD>", "b"])
    logprobs = text_logprobs(TokenBytes(chat, partial="bytes:"), [chunk], start=10, top_logprobs=1)
    assert logprobs["tokens"] == [" A", "bytes:\\xe4", "bytes:\\xb8", "bytes:\\xad", "b"]
    assert logprobs["text_offset"] == [10, 12, 12, 12, 13]


def test_sampled_token_is_among_top_logprobs():
    """OpenAI: "there may be up to logprobs+1 elements in the response"."""
    chat = replace(sentencepiece(), template_source="none")
    chunk = chunk_of(chat, ["b"], likeliest=["▁c"])
    logprobs = text_logprobs(TokenBytes(chat, partial="bytes:"), [chunk], start=0, top_logprobs=1)
    assert logprobs["top_logprobs"] == [{" c": -1.0, "b": -2.0}]


def test_top_logprobs_drop_the_same_space_as_the_sampled_token():
    """At the beginning of a text no token has its space, so that equal tokens have equal names."""
    chat = sentencepiece()
    chunk = chunk_of(chat, ["▁A"], likeliest=["▁A", "▁c", "</s>", "<0xE4>"])
    [entry] = chat_logprobs(TokenBytes(chat, partial=""), [chunk])["content"]
    assert [top["token"] for top in entry["top_logprobs"]] == ["A", "c", "</s>", "\\xe4"]
    assert [top["bytes"] for top in entry["top_logprobs"]] == [[65], [99], [], [0xE4]]


def test_control_token_has_a_name_and_no_bytes():
    chat = sentencepiece()
    chunk = chunk_of(chat, ["b", "<s>", "b"])
    content = chat_logprobs(TokenBytes(chat, partial=""), [chunk])["content"]
    assert [(entry["token"], entry["bytes"]) for entry in content] == [
        ("b", [98]),
        ("<s>", []),
        ("b", [98]),
    ]


def test_byte_level_tokens_have_their_own_bytes(tmp_path):
    """In GPT-2's alphabet E4 is "ä", B8 is "¸" and AD, which is not printable, is "Ń"."""
    chat = load_tokenizer(str(make_model(tmp_path / "llama")))
    chunk = chunk_of(chat, ["ä", "¸", "Ń", "Ġ"])
    assert chunk.text == "中 "
    assert bytes_of_tokens(TokenBytes(chat, partial=""), chunk) == [b"\xe4", b"\xb8", b"\xad", b" "]
    alphabet = [chat.tokenizer.convert_tokens_to_ids(piece) for piece in ("ÿ", "Ā", "ł", "!")]
    per_token = [TokenBytes(chat, partial="").bytes_of(token) for token in alphabet]
    assert per_token == [b"\xff", b"\x00", b"\xa0", b"!"]


def test_space_dropped_after_a_line_break_is_dropped_in_bytes(root):
    """The bundled model's decoder writes "a\\n b" as "a\\nb"."""
    chat = load_tokenizer(str(root / "data/pocket/model"))
    ids = chat.tokenizer(" a\n has", add_special_tokens=False)["input_ids"]
    tokens = [GeneratedToken(id=i, logprob=-1.0, likeliest=(), finish="") for i in ids]
    chunk = ResponseChunk(index=0, text=decode(chat, ids), tokens=tokens, finish="")
    assert b"".join(bytes_of_tokens(TokenBytes(chat, partial=""), chunk)).decode() == chunk.text


@pytest.mark.parametrize("stream", [False, True])
def test_joined_bytes_equal_the_text(tmp_path, stream):
    """At temperature 2 a byte-level model generates every byte; bytes that form no character are
    U+FFFD in the text, as in a lossy decoding of the bytes."""
    model = load_chat_model(str(make_model(tmp_path / "llama")))
    options = {"model": "tiny", "temperature": 2.0, "max_tokens": 60, "stream": stream}
    num_partial = 0
    with serving(tmp_path, {"tiny": model}) as site:
        client = site.client()
        for seed in range(6):
            chat = client.chat.completions.create(
                **options, messages=MESSAGES, seed=seed, logprobs=True
            )
            events = [chat.choices[0]] if not stream else [e.choices[0] for e in chat]
            content = "".join(
                (one.delta if stream else one.message).content or "" for one in events
            )
            entries = [x for one in events if one.logprobs for x in one.logprobs.content]
            joined = b"".join(bytes(entry.bytes) for entry in entries)
            assert joined.decode(errors="replace") == content
            num_partial += sum(entry.token.startswith("\\x") for entry in entries)
            text = client.completions.create(**options, prompt="A cat", seed=seed, logprobs=0)
            chosen = [text.choices[0]] if not stream else [e.choices[0] for e in text]
            whole = "".join(one.text for one in chosen)
            lists = [one.logprobs for one in chosen if one.logprobs]
            offsets = [offset for one in lists for offset in one.text_offset]
            names = [name for one in lists for name in one.tokens]
            for offset, name in zip(offsets, names, strict=True):
                plain_word = name.isascii() and name.isalpha()
                assert not plain_word or whole[offset:].startswith(name)
    assert num_partial > 20
