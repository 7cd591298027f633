"""EOS and pad of a tokenizer, settled for chat: every choice becomes a note."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from rlhf.data.tokenization.template import TemplateFormat, end_of_turn, read_format
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


def find_eos_ids(
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


def checked_end_of_turn(
    tokenizer: PreTrainedTokenizerBase,
    eos_ids: tuple[int, ...],
    form: TemplateFormat,
    source: str,
    *,
    judges: bool,
) -> int | None:
    """The token with which the template ends a response; None only where it judges.

    Raises:
        ConfigError: text follows a response, or nothing does.
    """
    end_id = end_of_turn(tokenizer, eos_ids, form.after or form.before_next)
    if end_id is None and not judges:
        raise ConfigError(
            f"the chat template ({source}) writes {form.after[:40]!r} after an answer, which does "
            "not begin with an EOS token: a model trained with it would never stop; end the "
            "assistant's turn with eos_token, or use chat_template: none."
        )
    return end_id


def set_eos(
    tokenizer: PreTrainedTokenizerBase,
    end_id: int,
    form: TemplateFormat,
    template_kwargs: Mapping[str, Any],
    notes: list[str],
) -> None:
    """Make the end of a turn the tokenizer's EOS, unless the template itself writes the old one.

    Base models such as Qwen2.5 end a turn with <|im_end|> and name <|endoftext|> as their EOS:
    generation would run past the turn. Phi-3's template writes `eos_token` after the last turn,
    and another one would change what a reward model reads.
    """
    old, end = tokenizer.eos_token, tokenizer.convert_ids_to_tokens(end_id)
    if end == old:
        return
    tokenizer.eos_token = end
    if read_format(tokenizer, "tokenizer", template_kwargs).after != form.after:
        tokenizer.eos_token = old
        notes.append(f"A response ends with {end!r}; the template writes the EOS {old!r} itself.")
        return
    where = "with" if form.after else "before the next turn with"
    notes.append(
        f"EOS is {end!r}, {where} which the chat template ends a response "
        f"(the tokenizer's was {old!r})."
    )


def settle_pad(
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
