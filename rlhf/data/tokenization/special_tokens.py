"""The EOS and pad tokens of a tokenizer for chat; every choice becomes a note."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.data.tokenization.template_format import TemplateFormat, end_of_turn, read_format
from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import read_manifest

if TYPE_CHECKING:  # commands that read rows without a tokenizer do not wait for transformers
    from transformers import PreTrainedTokenizerBase

# Tokens to pad with where a tokenizer names none, or its EOS. The last two are a control character
# (0x14) that no text contains, in SentencePiece and in byte-level vocabularies.
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
        CheckpointError: none of them names an EOS, so no response could end.
    """
    configured = [i for i in _configured_eos(name) if 0 <= i < len(tokenizer)]
    if tokenizer.eos_token_id is None and configured:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(configured[0])
        notes.append(
            f"EOS {tokenizer.eos_token!r} is from the model config; the tokenizer has none."
        )
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"{name} has no EOS token, neither in its tokenizer nor in its generation config: a "
            "response could never end; set eos_token in tokenizer_config.json.",
            code="not-a-model",
        )
    own = int(tokenizer.eos_token_id)
    return tuple(dict.fromkeys([own, *configured]))


def _configured_eos(name: str) -> list[int]:
    from transformers import AutoConfig, GenerationConfig  # see TYPE_CHECKING above

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
    template: TemplateFormat,
    source: str,
    *,
    judges: bool,
) -> int | None:
    """The token with which the template ends a response; None only for a reward model.

    Args:
        tokenizer: has the template.
        eos_ids: the EOS ids of the model.
        template: the format of the template.
        source: where the template is from, for the message.
        judges: whether the model is a reward model, which writes no responses.

    Raises:
        ConfigError: text follows a response, or nothing does.
    """
    end_id = end_of_turn(tokenizer, eos_ids, template.after or template.before_next)
    if end_id is None and not judges:
        raise ConfigError(
            f"the chat template ({source}) writes {template.after[:40]!r} after a response, which "
            "does not begin with an EOS token: a model trained with it would never stop; end the "
            "assistant's turn with eos_token, or use chat_template: none.",
            code="template-error",
        )
    return end_id


def set_eos(
    tokenizer: PreTrainedTokenizerBase,
    end_id: int,
    template: TemplateFormat,
    template_kwargs: Mapping[str, object],
    notes: list[str],
) -> None:
    """Make the end of a turn the tokenizer's EOS, unless the template itself writes the old one.

    Base models such as Qwen2.5 end a turn with <|im_end|> and name <|endoftext|> as their EOS:
    generation would run past the turn. Phi-3's template writes `eos_token` after the last turn,
    and another one would change what a reward model reads.

    Args:
        tokenizer: its EOS is set.
        end_id: the token that ends a turn.
        template: the format of its template.
        template_kwargs: variables of the template.
        notes: a sentence about the choice is added.
    """
    old, end = tokenizer.eos_token, tokenizer.convert_ids_to_tokens(end_id)
    if end == old:
        return
    tokenizer.eos_token = end
    if read_format(tokenizer, "tokenizer", template_kwargs).after != template.after:
        tokenizer.eos_token = old
        notes.append(f"A response ends with {end!r}; the template writes the EOS {old!r} itself.")
        return
    where = "with" if template.after else "before the next turn with"
    notes.append(
        f"EOS is {end!r}, {where} which the chat template ends a response "
        f"(the tokenizer's was {old!r})."
    )


def settle_pad(
    tokenizer: PreTrainedTokenizerBase, eos_ids: tuple[int, ...], name: str, notes: list[str]
) -> None:
    """Set a pad token that is not an EOS: transformers reads a reward at the last non-pad token.

    Raises:
        CheckpointError: the vocabulary has no such token.
    """
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
        f"{name} has no token to pad with but its EOS, which would hide the end of a response; "
        "set pad_token in tokenizer_config.json to a token that no text contains.",
        code="not-a-model",
    )
