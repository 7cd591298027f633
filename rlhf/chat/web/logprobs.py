"""Log-probabilities of an answer's tokens as OpenAI's two APIs write them."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlhf.chat.detokenizer import REPLACEMENT
from rlhf.chat.engine import Token
from rlhf.chat.web.sse import Part
from rlhf.data.tokenization.chat import decode
from rlhf.data.tokenization.tokenizer import ChatTokenizer

_REPLACED = re.compile(f"^(?:{REPLACEMENT})+".encode())
_CONTINUATION = re.compile(rb"[\x80-\xbf]")  # any byte of a character but its first
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's, where a character is unknown


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary, and that byte.

    GPT-2's table: a printable byte of Latin-1 is its own character, the others are numbered from
    U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    numbered = {chr(256 + at): byte for at, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | numbered


_BYTES = _byte_alphabet()


class Spelling:
    """Bytes and names of a model's tokens."""

    def __init__(self, chat: ChatTokenizer, *, partial: str) -> None:
        """partial: what goes before the bytes of a token that is a part of a character."""
        self._tokenizer = chat.tokenizer
        # A token by itself keeps its space, and is no less of a token for being an EOS.
        self._raw = replace(chat, template_source="none", eos_token_ids=())
        self._eos = frozenset(chat.eos_token_ids)
        self._partial = partial
        self._known: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """What the token adds to a text, in UTF-8; nothing for a control token."""
        if token not in self._known:
            self._known[token] = b"" if token in self._eos else self._bytes_of(token)
        return self._known[token]

    def name(self, token: int, said: bytes) -> str:
        """The text of a token that added these bytes; of a part of a character, their numbers."""
        if not said and not self.bytes_of(token):
            piece = self._tokenizer.convert_ids_to_tokens(token)
            return f"token_id:{token}" if piece is None else str(piece)
        try:
            return said.decode()
        except UnicodeDecodeError:
            return self._partial + "".join(f"\\x{byte:02x}" for byte in said)

    def _bytes_of(self, token: int) -> bytes:
        text = decode(self._raw, [token])
        if REPLACEMENT not in text:
            return text.encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(byte.group(1), 16)])
        if all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        return text.encode()


def spelled(spelling: Spelling, part: Part) -> list[bytes]:
    """Bytes of each token of a part; joined they are its text.

    Decoders leave a space out at the beginning of a text or of a line, and so do these bytes.
    Where bytes form no character the text has U+FFFD, and they stay as they are.
    """
    left, found = part.text.encode(), []
    for token in part.tokens:
        said = spelling.bytes_of(token.id)
        if not left.startswith(said) and left.startswith(said.removeprefix(b" ")):
            said = said.removeprefix(b" ")
        left = _after(said, left)
        found.append(said)
    return found


def _after(said: bytes, left: bytes) -> bytes:
    """What is left of a text after a token's bytes, of which U+FFFD may stand for some."""
    if left.startswith(said):
        return left[len(said) :]
    return _REPLACED.sub(b"", left.removeprefix(said.decode(errors="ignore").encode()))


def chat_logprobs(spelling: Spelling, said: Sequence[Part]) -> dict[str, Any]:
    """`logprobs` of a chat completion's choice: of the response, and apart those before it."""
    content = [entry for part in said for entry in _entries(spelling, part)]
    thoughts = [replace(part, text=part.thought, tokens=part.before) for part in said]
    before = [entry for part in thoughts for entry in _entries(spelling, part)]
    thought = {"reasoning_content": before} if before else {}
    return {"content": content, "refusal": None, **thought}


def _entries(spelling: Spelling, part: Part) -> list[dict[str, Any]]:
    """One entry a token of the part's text."""
    found = []
    for token, own in zip(part.tokens, spelled(spelling, part), strict=True):
        tops = [
            _entry(spelling, one, alike, value)
            for one, alike, value in _likeliest(spelling, token, own)
        ]
        entry = _entry(spelling, token.id, own, token.logprob)
        found.append({**entry, "top_logprobs": tops})
    return found


def text_logprobs(
    spelling: Spelling, said: Sequence[Part], *, start: int, tops: int
) -> dict[str, Any]:
    """`logprobs` of a text completion's choice, whose text begins at offset `start`.

    The token that was drawn is among the likeliest ones, as one more where it is none of them. An
    EOS that ended the answer is the last token: a caller that asks for one token counts on it.
    """
    names: list[str] = []
    values: list[float] = []
    likeliest: list[dict[str, float]] = []
    offsets: list[int] = []
    for part in said:
        before = b""
        tokens = [*part.tokens, part.end] if part.end else part.tokens
        for token, own in zip(tokens, [*spelled(spelling, part), b""], strict=False):
            names.append(spelling.name(token.id, own))
            values.append(token.logprob)
            likeliest.append(_named(spelling, token, own))
            offsets.append(start + _characters(before, own))
            before += own
        start += len(part.text)
    return {
        "tokens": names,
        "token_logprobs": values,
        "top_logprobs": likeliest if tops else None,
        "text_offset": offsets,
    }


def with_echo(found: dict[str, Any]) -> dict[str, Any]:
    """The same, where the first token is a prompt's, which follows nothing."""
    for name in ("token_logprobs", "top_logprobs"):
        if found[name]:
            found[name][0] = None
    return found


def _named(spelling: Spelling, token: Token, own: bytes) -> dict[str, float]:
    """The likeliest tokens in place of this one by their names, and this one."""
    best: dict[str, float] = {}
    for one, alike, value in _likeliest(spelling, token, own):
        best.setdefault(spelling.name(one, alike), value)
    best.setdefault(spelling.name(token.id, own), token.logprob)
    return best


def _characters(before: bytes, said: bytes) -> int:
    """How many characters precede a token that adds `said` after `before`."""
    if not _CONTINUATION.match(said):
        return len(before.decode(errors="replace"))
    return len(codecs.getincrementaldecoder("utf-8")("replace").decode(before))


def _likeliest(spelling: Spelling, token: Token, own: bytes) -> list[tuple[int, bytes, float]]:
    """The likeliest tokens in place of one that added `own`: without a space where it has none."""
    spaceless = own != spelling.bytes_of(token.id)
    found = [(one, spelling.bytes_of(one), value) for one, value in token.likeliest]
    return [(one, said.removeprefix(b" ") if spaceless else said, v) for one, said, v in found]


def _entry(spelling: Spelling, token: int, said: bytes, logprob: float) -> dict[str, Any]:
    return {"token": spelling.name(token, said), "logprob": logprob, "bytes": list(said)}
