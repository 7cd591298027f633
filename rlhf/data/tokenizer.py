"""A tokenizer ready for chat: template, end-of-turn, EOS and pad settled, or refused in words."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from rlhf.data.template import choose_template, end_of_turn, text_after_answer
from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import read_manifest

# Tokens to pad with where a tokenizer names none, or names its EOS. The last two stand for a
# control character (0x14) that no text holds, in SentencePiece and in byte-level vocabularies.
PAD_CANDIDATES = (
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|padding|>",
    "<|finetune_right_pad_id|>",
    "<|endoftext|>",
    "<unk>",
    "<0x14>",
    "Ĕ",
)


@dataclass(frozen=True, kw_only=True)
class ChatTokenizer:
    """A tokenizer and how this project speaks with it."""

    tokenizer: PreTrainedTokenizerBase  # pad, EOS and chat template set; save it as it is
    template_source: str  # tokenizer | supplied | none | the file's path
    eos_token_ids: tuple[int, ...]  # any of them ends an answer
    end_token_id: int  # the one of them that we write at the end of an answer
    after_answer: str = ""  # what the template writes after an answer; raw prompts have none
    notes: tuple[str, ...] = ()  # what was settled, one sentence each
    max_positions: int | None = None  # rows of the model's table of positions; None: no limit

    @property
    def raw(self) -> bool:
        """Whether prompts stay as they are, with no template around them."""
        return self.template_source == "none"

    @property
    def pad_token_id(self) -> int:
        """Never one of `eos_token_ids`."""
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """Matches every token that a text may not forge: roles, ends of turn, padding."""
        texts = {*self.tokenizer.all_special_tokens, *self.unmarked_role_tokens}
        texts |= {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        longest_first = sorted(texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def unmarked_role_tokens(self) -> frozenset[str]:
        """Tokens of the template that the tokenizer does not mark as special, as some do."""
        template = self.tokenizer.chat_template
        added = self.tokenizer.added_tokens_decoder.values()
        return frozenset(
            token.content for token in added if not token.special and token.content in str(template)
        )


def load_tokenizer(
    model_name_or_path: str, chat_template: str = "auto", *, judges: bool = False
) -> ChatTokenizer:
    """The tokenizer of a model folder or hub id.

    `chat_template`: `auto` takes what the folder's manifest says it was trained with, else the
    tokenizer's own template, else one that comes with this package; `none` keeps prompts raw;
    anything else is a Jinja file. Every choice made here stands in `notes`. `judges`: for a reward
    model, which writes no answers: its template may go on after one as it likes.

    Raises:
        CheckpointError: no tokenizer there, no EOS, no token to pad with.
        ConfigError: a template that is not there, or one that does not end an answer with EOS.
    """
    tokenizer = _read_tokenizer(model_name_or_path)
    notes: list[str] = []
    eos_ids = _eos_token_ids(model_name_or_path, tokenizer, notes)
    manifest = read_manifest(Path(model_name_or_path))
    if chat_template == "auto" and manifest and manifest.chat_template_source == "none":
        chat_template = "none"
    source = choose_template(tokenizer, chat_template, notes)
    after = "" if source == "none" else text_after_answer(tokenizer, source)
    end_id = end_of_turn(tokenizer, eos_ids, after)
    if end_id is not None:
        eos_ids = _with_end(tokenizer, end_id, eos_ids, notes)
    elif source != "none" and not judges:
        raise ConfigError(
            f"the chat template ({source}) writes {after[:40]!r} after an answer, which does not "
            "begin with an EOS token: a model trained with it would never stop; end the "
            "assistant's turn with eos_token, or use chat_template: none."
        )
    if len(eos_ids) > 1:
        names = ", ".join(f"{i} {tokenizer.convert_ids_to_tokens(i)!r}" for i in eos_ids)
        notes.append(f"An answer ends at any of {names}; {tokenizer.eos_token!r} is written.")
    _settle_pad(tokenizer, eos_ids, model_name_or_path, notes)
    if source == "tokenizer" and manifest:  # the stage before saved its template there
        source = manifest.chat_template_source
    return ChatTokenizer(
        tokenizer=tokenizer,
        template_source=source,
        eos_token_ids=eos_ids,
        end_token_id=eos_ids[0],
        after_answer=after,
        notes=tuple(notes),
    )


def check_vocabulary(model_config: Any, chat: ChatTokenizer) -> None:
    """Refuse a tokenizer that has ids the model has no row for. Needs no weights.

    Raises:
        CheckpointError: the largest id and the model's size.
    """
    rows = int(model_config.get_text_config().vocab_size)
    token, largest = max(chat.tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer's largest id is {largest} ({token!r}) but the model has {rows} "
            "embedding rows; use the tokenizer the model was trained with."
        )


def with_positions(chat: ChatTokenizer, model_config: Any) -> ChatTokenizer:
    """`chat`, knowing for how many tokens the model has positions. Needs no weights.

    Where positions are a table. Rotary ones are computed, and have no end but that of training.
    """
    config = model_config.get_text_config()
    positions = None if is_rotary(config) else getattr(config, "max_position_embeddings", None)
    return replace(chat, max_positions=positions)


def is_rotary(text_config: Any) -> bool:
    """Whether the model turns its keys by their position instead of adding a learned row."""
    return getattr(text_config, "rope_parameters", None) is not None


def _read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # OSError, ValueError, ImportError, hub errors: one meaning here
        first_line = (str(error).strip().splitlines() or [""])[0]
        # The hub's own words about a path that is not here speak of repositories only.
        where = (
            "" if Path(name).exists() else f" is no folder here (paths count from {Path.cwd()}) and"
        )
        raise CheckpointError(
            f"{name}{where} gives no tokenizer ({type(error).__name__}: {first_line[:200]}); "
            "name a folder with tokenizer.json or a hub id."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(f"{name} gives a {type(tokenizer).__name__}, not a text tokenizer.")
    return tokenizer


def _eos_token_ids(
    name: str, tokenizer: PreTrainedTokenizerBase, notes: list[str]
) -> tuple[int, ...]:
    """The tokenizer's EOS first, then those of generation_config.json (or config.json).

    Raises:
        CheckpointError: there is none anywhere: an answer could never end.
    """
    configured = [i for i in _configured_eos(name) if 0 <= i < len(tokenizer)]
    if tokenizer.eos_token_id is None and configured:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(configured[0])
        notes.append(f"EOS {tokenizer.eos_token!r} is the model config's; the tokenizer has none.")
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"{name} has no EOS token, neither in its tokenizer nor in its generation config: an "
            "answer could never end; set eos_token in tokenizer_config.json."
        )
    own = int(tokenizer.eos_token_id)
    return tuple(dict.fromkeys([own, *configured]))


def _configured_eos(name: str) -> list[int]:
    manifest = read_manifest(Path(name))
    if manifest is not None:
        return list(manifest.eos_token_ids)
    for reader in (GenerationConfig, AutoConfig):
        try:
            ids = reader.from_pretrained(name).eos_token_id
        except (OSError, ValueError, AttributeError):
            continue  # an adapter's folder, or a tokenizer alone
        if ids is not None:
            return list(ids) if isinstance(ids, list | tuple) else [int(ids)]
    return []


def _with_end(
    tokenizer: PreTrainedTokenizerBase, end_id: int, eos_ids: tuple[int, ...], notes: list[str]
) -> tuple[int, ...]:
    """`eos_ids` with the template's end of turn in front, and the tokenizer's EOS set to it.

    Base models such as Qwen2.5 end a turn with <|im_end|> and name <|endoftext|> as their EOS:
    generation would run past the turn.
    """
    if end_id != tokenizer.eos_token_id:
        old = tokenizer.eos_token
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_id)
        notes.append(
            f"EOS is {tokenizer.eos_token!r}, with which the chat template ends an answer "
            f"(the tokenizer said {old!r})."
        )
    return tuple(dict.fromkeys([end_id, *eos_ids]))


def _settle_pad(
    tokenizer: PreTrainedTokenizerBase, eos_ids: tuple[int, ...], name: str, notes: list[str]
) -> None:
    """A pad token that is no EOS: transformers pools a reward at the last token that is no pad."""
    old, old_id = tokenizer.pad_token, tokenizer.pad_token_id
    if old_id is not None and old_id not in eos_ids:
        if old_id == tokenizer.unk_token_id:
            notes.append(f"Pad is the unknown token {old!r}; masks are made from lengths.")
        return
    vocabulary = tokenizer.get_vocab()
    for candidate in PAD_CANDIDATES:
        if candidate in vocabulary and vocabulary[candidate] not in eos_ids:
            tokenizer.pad_token = candidate
            why = "the tokenizer has no pad" if old_id is None else f"{old!r} is an EOS"
            notes.append(f"Pad is {candidate!r}: {why}.")
            return
    raise CheckpointError(
        f"{name} has no token to pad with but its EOS, which would hide the end of an answer; "
        "set pad_token in tokenizer_config.json to a token that no text holds."
    )
