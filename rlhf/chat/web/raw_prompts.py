"""Prompts of text completions and embeddings: texts or token ids, without a template."""

from collections.abc import Sequence
from dataclasses import replace

from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.web.schema import RawPrompts
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.errors import DataError


def prompt_list(prompt: RawPrompts) -> Sequence[str | list[int]]:
    """The prompts of a request, each a text or token ids."""
    if isinstance(prompt, str):
        return [prompt]
    ids = [part for part in prompt if isinstance(part, int)]
    prompts = [part for part in prompt if not isinstance(part, int)]
    return prompts or [ids]


def raw_prompt_ids(model: PolicyInfo, prompt: RawPrompts) -> list[list[int]]:
    """Ids of the prompts without a template.

    Raises:
        DataError: an empty prompt, or ids beyond the model's vocabulary.
    """
    raw = replace(model.chat, template_source="none")
    size = model.vocab_size
    prompts = [
        prompt_ids(raw, each) if isinstance(each, str) else list(each)
        for each in prompt_list(prompt)
    ]
    if any(not ids for ids in prompts):
        raise DataError("a prompt is empty; send a text or token ids", code="bad-value")
    if any(max(ids) >= size for ids in prompts):
        raise DataError(f"a prompt has an id beyond the model's {size} tokens", code="bad-value")
    return prompts
