"""Log-probabilities of a response's tokens in the formats of OpenAI's two APIs."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

from rlhf.chat.detokenizer import REPLACEMENT
from rlhf.chat.engine import GeneratedToken
from rlhf.chat.web.sse import ResponseChunk
from rlhf.data.tokenization.chat import decode
from rlhf.data.tokenization.tokenizer import ChatTokenizer

_REPLACED = re.compile(f"^(?:{REPLACEMENT})+".encode())
_CONTINUATION = re.compile(rb"[\x80-\xbf]")  # any byte of a character but its first
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's byte fallback


def _byte_alphabet() -> dict[str, int]:
    """The byte of each character of a byte-level vocabulary.

    GPT-2's table: a printable byte of Latin-1 is its own character; the others are numbered from
    U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    numbered = {chr(256 + index): byte for index, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | numbered


_BYTES = _byte_alphabet()


class TextLogprobs(TypedDict):
    """`logprobs` of a text completion's choice: lists with an entry for each token."""

    tokens: list[str]
    token_logprobs: list[float | None]  # None: nothing precedes the token
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TokenBytes:
    """Bytes and names of a model's tokens.

    Args:
        chat: tokenizer of the model.
        partial: prefix of the name of a token that is part of a character.
    """

    def __init__(self, chat: ChatTokenizer, *, partial: str) -> None:
        self._tokenizer = chat.tokenizer
        # Decoded on its own, a token keeps its space; without EOS ids a control token has a text.
        self._raw = replace(chat, template_source="none", eos_token_ids=())
        self._eos = frozenset(chat.eos_token_ids)
        self._partial = partial
        self._cache: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """The UTF-8 bytes that the token adds to a text; empty for a control token."""
        if token not in self._cache:
            self._cache[token] = b"" if token in self._eos else self._decode(token)
        return self._cache[token]

    def name(self, token: int, token_bytes: bytes) -> str:
        """The text of a token that added these bytes; hex codes for a part of a character."""
        if not token_bytes and not self.bytes_of(token):
            piece = self._tokenizer.convert_ids_to_tokens(token)
            return f"token_id:{token}" if piece is None else str(piece)
        try:
            return token_bytes.decode()
        except UnicodeDecodeError:
            return self._partial + "".join(f"\\x{byte:02x}" for byte in token_bytes)

    def _decode(self, token: int) -> bytes:
        text = decode(self._raw, [token])
        if REPLACEMENT not in text:
            return text.encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(byte.group(1), 16)])
        if all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        return text.encode()


def bytes_of_tokens(token_bytes: TokenBytes, chunk: ResponseChunk) -> list[bytes]:
    """Bytes of each token of a chunk; joined they are its text.

    Decoders leave a space out at the beginning of a text or of a line, and so do these bytes.
    Where bytes form no character the text has U+FFFD, while the bytes are kept.
    """
    rest, per_token = chunk.text.encode(), []
    for token in chunk.tokens:
        added = token_bytes.bytes_of(token.id)
        if not rest.startswith(added) and rest.startswith(added.removeprefix(b" ")):
            added = added.removeprefix(b" ")
        rest = _rest_after(added, rest)
        per_token.append(added)
    return per_token


def _rest_after(added: bytes, text: bytes) -> bytes:
    """The rest of a text after a token's bytes, some of which U+FFFD may replace."""
    if text.startswith(added):
        return text[len(added) :]
    return _REPLACED.sub(b"", text.removeprefix(added.decode(errors="ignore").encode()))


def chat_logprobs(token_bytes: TokenBytes, chunks: Sequence[ResponseChunk]) -> dict[str, object]:
    """`logprobs` of a chat completion's choice; tokens before the response are listed apart."""
    content = [entry for chunk in chunks for entry in _entries(token_bytes, chunk)]
    thoughts = [replace(chunk, text=chunk.thought, tokens=chunk.before) for chunk in chunks]
    before = [entry for chunk in thoughts for entry in _entries(token_bytes, chunk)]
    thought = {"reasoning_content": before} if before else {}
    return {"content": content, "refusal": None, **thought}


def _entries(token_bytes: TokenBytes, chunk: ResponseChunk) -> list[dict[str, object]]:
    """One entry for each token of the chunk's text."""
    entries = []
    for token, added in zip(chunk.tokens, bytes_of_tokens(token_bytes, chunk), strict=True):
        top_logprobs = [
            _entry(token_bytes, other, other_added, logprob)
            for other, other_added, logprob in _likeliest(token_bytes, token, added)
        ]
        entry = _entry(token_bytes, token.id, added, token.logprob)
        entries.append({**entry, "top_logprobs": top_logprobs})
    return entries


def text_logprobs(
    token_bytes: TokenBytes, chunks: Sequence[ResponseChunk], *, start: int, top_logprobs: int
) -> TextLogprobs:
    """`logprobs` of a text completion's choice, whose text begins at offset `start`.

    The sampled token is listed among the likeliest ones, as an extra one if it is not among them.
    An EOS that ended the response is the last token: a client that requests one token expects one.
    """
    names: list[str] = []
    logprobs: list[float | None] = []
    likeliest: list[dict[str, float] | None] = []
    offsets: list[int] = []
    for chunk in chunks:
        before = b""
        tokens = [*chunk.tokens, chunk.end] if chunk.end else chunk.tokens
        per_token = [*bytes_of_tokens(token_bytes, chunk), b""]
        for token, added in zip(tokens, per_token, strict=False):
            names.append(token_bytes.name(token.id, added))
            logprobs.append(token.logprob)
            likeliest.append(_likeliest_by_name(token_bytes, token, added))
            offsets.append(start + _num_characters(before, added))
            before += added
        start += len(chunk.text)
    return {
        "tokens": names,
        "token_logprobs": logprobs,
        "top_logprobs": likeliest if top_logprobs else None,
        "text_offset": offsets,
    }


def with_echo(logprobs: TextLogprobs) -> TextLogprobs:
    """Null for the first token of an echoed prompt, which nothing precedes."""
    if logprobs["token_logprobs"]:
        logprobs["token_logprobs"][0] = None
    if logprobs["top_logprobs"]:
        logprobs["top_logprobs"][0] = None
    return logprobs


def _likeliest_by_name(
    token_bytes: TokenBytes, token: GeneratedToken, added: bytes
) -> dict[str, float]:
    """Log-probabilities of the likeliest tokens at this position and of the sampled one."""
    by_name: dict[str, float] = {}
    for other, other_added, logprob in _likeliest(token_bytes, token, added):
        by_name.setdefault(token_bytes.name(other, other_added), logprob)
    by_name.setdefault(token_bytes.name(token.id, added), token.logprob)
    return by_name


def _num_characters(before: bytes, added: bytes) -> int:
    """How many characters precede a token that adds `added` after `before`."""
    if not _CONTINUATION.match(added):
        return len(before.decode(errors="replace"))
    return len(codecs.getincrementaldecoder("utf-8")("replace").decode(before))


def _likeliest(
    token_bytes: TokenBytes, token: GeneratedToken, added: bytes
) -> list[tuple[int, bytes, float]]:
    """(id, bytes, logprob) of the likeliest tokens; without a space if the sampled one lost it."""
    lost_space = added != token_bytes.bytes_of(token.id)
    likeliest = []
    for other, logprob in token.likeliest:
        other_bytes = token_bytes.bytes_of(other)
        other_bytes = other_bytes.removeprefix(b" ") if lost_space else other_bytes
        likeliest.append((other, other_bytes, logprob))
    return likeliest


def _entry(token_bytes: TokenBytes, token: int, added: bytes, logprob: float) -> dict[str, object]:
    return {
        "token": token_bytes.name(token, added),
        "logprob": logprob,
        "bytes": list(added),
    }
