"""A tokenizer for chat, with its template, end of turn, EOS and pad token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rlhf.data.tokenization.special_tokens import (
    checked_end_of_turn,
    find_eos_ids,
    set_eos,
    settle_pad,
)
from rlhf.data.tokenization.template import (
    check_template_kwargs,
    check_variables,
    choose_template,
)
from rlhf.data.tokenization.template_format import (
    TemplateFormat,
    end_of_turn,
    format_notes,
    read_format,
)
from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import Manifest, read_manifest

if TYPE_CHECKING:  # commands that read rows without a tokenizer do not wait for transformers
    from transformers import PreTrainedTokenizerBase


class TextConfig(Protocol):
    """The part of a model's text configuration that is read here."""

    vocab_size: int


class ModelConfig(Protocol):
    """The part of a transformers configuration that is read here."""

    def get_text_config(self) -> TextConfig: ...


@dataclass(frozen=True, kw_only=True)
class ChatTokenizer:
    """A tokenizer and how conversations are written with it."""

    tokenizer: PreTrainedTokenizerBase  # with pad, EOS and chat template set; save it unchanged
    template_source: str  # tokenizer | supplied | none | the file's path
    eos_token_ids: tuple[int, ...]  # any of them ends a response
    end_token_id: int  # the one of them that is written at the end of a response
    template_kwargs: Mapping[str, object] = field(default_factory=dict)  # variables of the template
    notes: tuple[str, ...] = ()  # one sentence for each choice that was made
    reads_thoughts: bool = False  # whether a reward model reads thoughts too
    max_positions: int | None = None  # size of the model's table of positions; None: no limit

    @property
    def raw(self) -> bool:
        """Whether prompts stay unchanged, without a template around them."""
        return self.template_source == "none"

    @property
    def pad_token_id(self) -> int:
        """Never one of `eos_token_ids`."""
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def format(self) -> TemplateFormat:
        """What the chat template writes around a response; not for raw prompts."""
        return read_format(self.tokenizer, self.template_source, self.template_kwargs)

    @cached_property
    def writes_end(self) -> bool:
        """Whether the template itself ends the last response with `end_token_id`.

        GLM's ends a response with the token that begins the next turn, so the last one has no end.
        """
        ids = self.tokenizer(self.format.after, add_special_tokens=False)["input_ids"]
        return self.end_token_id in ids

    @cached_property
    def call_end_id(self) -> int:
        """The id that is written at the end of a tool call where the template writes no end.

        GLM's ends a call with the token that begins the tool's turn, not the user's.
        """
        end_id = end_of_turn(self.tokenizer, self.eos_token_ids, self.format.before_result)
        return self.end_token_id if end_id is None else end_id

    @cached_property
    def marker_end_id(self) -> int | None:
        """The added token that ends the marker before a response; None where it is letters."""
        ids = self.tokenizer(self.format.marker, add_special_tokens=False)["input_ids"]
        return int(ids[-1]) if ids and ids[-1] in self.tokenizer.added_tokens_decoder else None

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """Matches every token that must not act as such in a text: roles, ends of turn, padding."""
        texts = {*self.tokenizer.all_special_tokens, *self.unmarked_role_tokens}
        texts |= {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        return _any_of(texts)

    @cached_property
    def template_tokens(self) -> re.Pattern[str]:
        """Matches control tokens and every other added token that the template names.

        The others (`<think>`, `<tool_call>`) are content in an assistant's message, and letters in
        a user's or a tool's.
        """
        named = {token for token in self._unmarked_tokens if token in self._template_text}
        return _any_of({*self.tokenizer.all_special_tokens, *named}, self.control_tokens)

    @cached_property
    def unmarked_role_tokens(self) -> frozenset[str]:
        """Tokens around turns that some tokenizers do not mark as special."""
        if self.raw:
            return frozenset()
        around = self.format.without_thoughts
        return frozenset(token for token in self._unmarked_tokens if token in around)

    @property
    def _unmarked_tokens(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if not token.special]

    @property
    def _template_text(self) -> str:
        return "" if self.raw else str(self.tokenizer.chat_template)


def load_tokenizer(
    model_name_or_path: str,
    chat_template: str | PathLike[str] = "auto",
    *,
    template_kwargs: Mapping[str, object] | None = None,
    judges: bool = False,
) -> ChatTokenizer:
    """The tokenizer of a model folder or hub id. Every choice made here is in `notes`.

    Args:
        model_name_or_path: a folder, or a hub id.
        chat_template: `auto` uses the one in the folder's manifest, else the tokenizer's own
            template, else one that comes with this package; `none` keeps prompts raw; anything
            else is a Jinja file.
        template_kwargs: variables of the template, such as {"enable_thinking": False}; None
            uses those of the folder's manifest.
        judges: for a reward model, which writes no responses: its template need not end one.

    Raises:
        CheckpointError: the tokenizer does not exist, or has no EOS or no token to pad with.
        ConfigError: the template is not a path, does not exist, or does not end a response with an
            EOS.
    """
    if isinstance(chat_template, PathLike):
        chat_template = str(chat_template)
    if not isinstance(chat_template, str):
        raise ConfigError(
            f"chat_template={chat_template!r} is a {type(chat_template).__name__}; use auto, none "
            "or the path of a Jinja file.",
            code="bad-value",
        )
    tokenizer = _read_tokenizer(model_name_or_path)
    notes: list[str] = []
    eos_ids = find_eos_ids(model_name_or_path, tokenizer, notes)
    manifest = read_manifest(Path(model_name_or_path))
    if chat_template == "auto" and manifest and manifest.chat_template_source == "none":
        chat_template = "none"
    source = choose_template(tokenizer, chat_template, notes)
    variables = _checked_variables(tokenizer, source, template_kwargs, manifest)
    if source != "none":
        template = read_format(tokenizer, source, variables)
        end_id = checked_end_of_turn(tokenizer, eos_ids, template, source, judges=judges)
        if end_id is not None:
            eos_ids = tuple(dict.fromkeys([end_id, *eos_ids]))
            set_eos(tokenizer, end_id, template, variables, notes)
        notes += format_notes(template)
        if "strftime_now" in str(tokenizer.chat_template):
            notes.append("The template writes today's date: the ids of one text change with it.")
    if len(eos_ids) > 1:
        names = ", ".join(f"{i} {tokenizer.convert_ids_to_tokens(i)!r}" for i in eos_ids)
        written = tokenizer.convert_ids_to_tokens(eos_ids[0])
        notes.append(f"A response ends at any of {names}; {written!r} is written.")
    settle_pad(tokenizer, eos_ids, model_name_or_path, notes)
    if source == "tokenizer" and manifest:  # the previous stage saved its template there
        source = manifest.chat_template_source
    return ChatTokenizer(
        tokenizer=tokenizer,
        template_source=source,
        eos_token_ids=eos_ids,
        end_token_id=eos_ids[0],
        template_kwargs=dict(variables),
        reads_thoughts=bool(manifest and manifest.reads_thoughts),
        notes=tuple(notes),
    )


def _checked_variables(
    tokenizer: PreTrainedTokenizerBase,
    source: str,
    template_kwargs: Mapping[str, object] | None,
    manifest: Manifest | None,
) -> Mapping[str, object]:
    """Variables of the template: those that were passed, else those of the manifest.

    Raises:
        ConfigError: the template does not use one of them, or prompts are raw.
    """
    variables = template_kwargs
    if variables is None:
        variables = manifest.chat_template_kwargs if manifest else {}
    check_template_kwargs(variables)
    if source != "none":
        check_variables(tokenizer, source, template_kwargs or {})
    elif variables:
        raise ConfigError(
            "chat_template_kwargs has no effect with chat_template: none.", code="key-conflict"
        )
    return variables


def check_vocabulary(model_config: ModelConfig, chat: ChatTokenizer) -> None:
    """Raise for a tokenizer with ids that the model has no embedding for. Needs no weights.

    Raises:
        CheckpointError: the largest id and the model's size.
    """
    rows = int(model_config.get_text_config().vocab_size)
    token, largest = max(chat.tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer's largest id is {largest} ({token!r}) but the model has {rows} "
            "embedding rows; use the tokenizer that the model was trained with.",
            code="tokenizer-mismatch",
        )


def with_positions(chat: ChatTokenizer, model_config: ModelConfig) -> ChatTokenizer:
    """`chat` with the number of the model's positions. Needs no weights.

    Only a table of positions has an end. Rotary positions are computed, and limited by training
    alone.
    """
    config = model_config.get_text_config()
    positions = None if is_rotary(config) else getattr(config, "max_position_embeddings", None)
    return replace(chat, max_positions=positions)


def is_rotary(text_config: object) -> bool:
    """Whether the model has rotary positions instead of a table of learned ones."""
    return getattr(text_config, "rope_parameters", None) is not None


def _read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase  # see TYPE_CHECKING above

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # OSError, ValueError, ImportError, hub errors: one meaning here
        first_line = (str(error).strip().splitlines() or [""])[0]
        # The hub's own message about a path that does not exist speaks of repositories only.
        where = (
            ""
            if Path(name).exists()
            else f"; there is no such folder (paths are relative to {Path.cwd()})"
        )
        raise CheckpointError(
            f"no tokenizer can be loaded from {name}{where} "
            f"({type(error).__name__}: {first_line[:200]}); "
            "name a folder with tokenizer.json or a hub id.",
            code="not-a-model",
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(
            f"{name} has a {type(tokenizer).__name__}, not a text tokenizer.", code="not-a-model"
        )
    return tokenizer


def _any_of(texts: set[str], more: re.Pattern[str] | None = None) -> re.Pattern[str]:
    """A pattern of any of the texts, the longest first."""
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    parts = [*map(re.escape, longest_first), *([more.pattern] if more else [])]
    return re.compile("|".join(parts) or r"(?!)")
