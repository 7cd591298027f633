"""Grammars that a response has to follow: which tokens may come next (llguidance)."""

import json
import threading
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError

# JSON on one line, as `json.dumps` writes it: a small model that may write white space anywhere
# can write nothing else.
ONE_LINE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class TokenMatcher:
    """The state of one response in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, vocab_size: int) -> Tensor:
        """bool [V]: the tokens that may come next; at the end of the grammar those that end it."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[:vocab_size]
        return torch.from_numpy(bits.astype(bool))

    def add(self, token: int) -> None:
        """Count a token as written.

        Raises:
            RuntimeError: the grammar does not allow it.
        """
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} does not fit the grammar")


class Grammar:
    """A compiled grammar. Each response gets its own matcher."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def start(self) -> TokenMatcher:
        """A matcher at the beginning of a response."""
        return TokenMatcher(self._matcher.deep_copy())


class GrammarCompiler:
    """Compiles grammars for the tokens of one model. Threads may share it.

    Args:
        chat: tokenizer of the model; any of its EOS ids ends a response.
        vocab_size: number of the model's logits.

    Raises:
        ConfigError: llguidance is not installed, or cannot read this tokenizer.
    """

    def __init__(self, chat: ChatTokenizer, vocab_size: int) -> None:
        self._library = _library()
        self._tokenizer = cast(Any, chat.tokenizer)  # llguidance names a class that it may not be
        self._lock = threading.Lock()
        from llguidance.hf import from_tokenizer

        try:
            self._tokens = from_tokenizer(
                self._tokenizer, n_vocab=vocab_size, eos_token=list(chat.eos_token_ids)
            )
        except ValueError as error:
            raise ConfigError(
                f"grammars are not supported for this model's tokenizer: {error}.",
                code="unsupported",
            ) from error

    def compile(self, lark: str) -> Grammar:
        """A grammar in llguidance's variant of Lark.

        Raises:
            ConfigError: the grammar, or a JSON schema in it, is not supported.
        """
        with self._lock:
            reason = self._library.LLMatcher.validate_grammar(lark, self._tokens)
            if reason and not reason.startswith("WARNING"):
                raise ConfigError(reason.splitlines()[0], code="unsupported")
            return Grammar(self._library.LLMatcher(self._tokens, lark, log_level=0))

    def literal(self, text: str) -> str:
        """The text as items of a rule; control tokens in it have to be written as such."""
        items: list[str] = []
        rest = text
        added = self._tokenizer.added_tokens_decoder.items()
        special = {t.content: n for n, t in added if self._tokens.is_special_token(n)}
        while rest:
            found = {token: rest.find(token) for token in special if token in rest}
            token = min(found, key=lambda each: (found[each], -len(each)), default="")
            before, _, rest = rest.partition(token) if token else (rest, "", "")
            items += [json.dumps(before)] if before else []
            items += [f"<[{special[token]}]>"] if token else []
        return " ".join(items)

    def up_to(self, name: str, end: str) -> str:
        """Rules that define `name` as any text up to the first `end`."""
        item = self.literal(end)
        if item.startswith("<["):
            return f"{name}: /(.|\\n)*/ {item}\n"
        pattern = "".join(f"\\{c}" if not c.isalnum() else c for c in end)
        return f"{name}[lazy]: /(.|\\n)*{pattern}/\n"


def json_rule(schema: Mapping[str, object]) -> str:
    """An item of a rule: JSON on one line that fits the schema."""
    return f"%json {json.dumps({**schema, 'x-guidance': ONE_LINE})}"


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ConfigError(
            "constrained decoding needs llguidance, which is not installed on the server; run "
            "`pip install 'rlhf[structured]'`.",
            code="missing-package",
        ) from error
    return llguidance
