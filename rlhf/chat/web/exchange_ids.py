"""Token ids of a prompt and its response, for a response that is known by its text."""

from collections.abc import Sequence

from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.prompt import encode_prompt
from rlhf.data.tokenization.chat import decode, encode_response
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.types import Message


def exchange_ids(
    model: PolicyInfo, messages: Sequence[Message], response: str, ids: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """Ids of prompt and response. If `ids` is None, the text of the response is tokenized again.

    A response with a thought, or whose template writes something before it, is tokenized as the
    template renders it.
    """
    prompt = encode_prompt(model, messages)
    if ids is not None:
        return prompt, list(ids)
    thought, text = ("", response) if model.chat.raw else split_thought(response)
    if model.chat.raw or not (thought or (text.strip() and model.chat.format.lead.strip())):
        return prompt, _ids_without_control_tokens(model, response)
    encoded = encode_response(model.chat, list(messages), response)
    before, after = encoded.ids[: encoded.prompt_length], encoded.ids[encoded.prompt_length :]
    end = next(index for index, token in enumerate(after) if token in model.chat.eos_token_ids)
    return before, after[:end] if text else _open_thought(model, after[:end], thought)


def _open_thought(model: PolicyInfo, ids: list[int], thought: str) -> list[int]:
    """The ids of a thought that was cut off, without the end tag that the template added."""
    for end in range(len(ids) + 1):
        if split_thought(decode(model.chat, ids[:end]))[0] == thought:
            return ids[:end]
    return ids


def _ids_without_control_tokens(model: PolicyInfo, text: str) -> list[int]:
    """Ids of a text in which no part is read as a control token."""
    encoded = model.chat.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])
