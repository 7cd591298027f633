"""The text and ids of a conversation: rendered by the template, with forged tokens as letters."""

from collections.abc import Sequence
from typing import cast

from rlhf.data.tokenization.forgery import encode_text, hidden
from rlhf.data.tokenization.template import RENDER_ERRORS, render
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError, reject_row
from rlhf.types import Message, Prompt, Tools


def as_messages(prompt: Prompt) -> list[Message]:
    """The prompt as a conversation; a string is one user message."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def conversation_ids(
    chat: ChatTokenizer,
    turns: Sequence[Message],
    tools: Tools,
    *,
    generation_prompt: bool = False,
) -> tuple[str, list[int]]:
    """The rendered text, in which forged tokens are hidden, and its ids.

    Raises:
        DataError: the template cannot render the conversation, or leaves out a part of it.
    """
    text, forged = hidden_text(chat, turns, tools, generation_prompt=generation_prompt)
    return text, encode_text(chat, text, forged)


def hidden_text(
    chat: ChatTokenizer,
    turns: Sequence[Message],
    tools: Tools,
    *,
    generation_prompt: bool = False,
) -> tuple[str, list[str]]:
    """The rendered text, in which forged tokens are hidden, and these tokens, for `encode_text`.

    Raises:
        DataError: see `conversation_ids`.
    """
    forged: list[str] = []
    safe = [cast(Message, hidden(chat, _template_turn(chat, turn), forged)) for turn in turns]
    safe_tools = [hidden(chat, tool, forged) for tool in tools]
    text = conversation_text(chat, safe, safe_tools, generation_prompt=generation_prompt)
    return text, forged


def conversation_text(
    chat: ChatTokenizer,
    turns: Sequence[Message],
    tools: Tools,
    *,
    generation_prompt: bool = False,
) -> str:
    """The rendered text.

    Raises:
        DataError: see `conversation_ids`.
    """
    try:
        text = render(
            chat.tokenizer,
            turns,
            template_kwargs=chat.template_kwargs,
            tools=tools,
            generation_prompt=generation_prompt,
        )
    except RENDER_ERRORS as error:
        raise DataError(
            f"the chat template rejects the prompt: {error}", code="template-error"
        ) from error
    _check_fields(chat, turns, tools)
    return text


def raw_text(prompt: Prompt, tools: Tools = ()) -> str:
    """The text of a raw prompt.

    Raises:
        DataError: it is a conversation, or has tools.
    """
    if not isinstance(prompt, str) or tools:
        subject = "tools" if tools else "a conversation"
        reject_row(f"{subject} needs a chat template, but chat_template is none")
    return prompt


def raw_ids(chat: ChatTokenizer, text: str) -> list[int]:
    """Ids of a raw text, with the start tokens of the tokenizer and without an EOS at its end."""
    ids = list(chat.tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
    # Some tokenizers close every text with EOS; what follows a prompt is a response.
    while ids and ids[-1] in chat.eos_token_ids and len(ids) > 1:
        ids.pop()
    return ids


def _template_turn(chat: ChatTokenizer, turn: Message) -> Message:
    """The message as the template takes it: a thought at the beginning of its text is a field."""
    fields = turn.copy()
    fields.pop("weight", None)
    fields.pop("cut", None)
    if turn["role"] != "assistant" or "reasoning_content" in turn:
        return fields
    thought, text = split_thought(turn["content"])
    if text == turn["content"] or not chat.format.renders_thoughts:
        return fields
    fields["content"] = text
    if thought:
        fields["reasoning_content"] = thought
    return fields


def _check_fields(chat: ChatTokenizer, turns: Sequence[Message], tools: Tools) -> None:
    """Reject fields that the template would silently leave out."""
    template = chat.format
    for turn in turns:
        if turn["role"] not in template.roles:
            reject_row(f"the chat template leaves out the role {turn['role']!r}")
        if turn.get("reasoning_content") and not template.renders_thoughts:
            instead = "write them into the content as <think>…</think>, or " * template.keeps_tags
            reject_row(
                f"the chat template leaves out thoughts (reasoning_content); {instead}give a "
                "template that renders them with chat_template: FILE"
            )
        if turn.get("tool_calls") and not template.renders_tool_calls:
            reject_row("the chat template leaves out tool_calls")
    if tools and not template.renders_tools:
        reject_row("the chat template leaves out tools")
