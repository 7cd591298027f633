"""A conversation of several turns as one list of ids: what follows a turn, and what a turn says.

The ids that a model wrote are never replaced: a text can be tokenised in other ways than the model
wrote it, and templates leave out the thoughts of earlier turns. Only the messages between two turns
are rendered, and appended.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from rlhf.data.tokenization.decode import decode
from rlhf.data.tokenization.forgery import encode_text
from rlhf.data.tokenization.rendering import hidden_text
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.data.tokenization.tool_calls import parse_tool_calls
from rlhf.errors import DataError
from rlhf.types import Message, Tools

_QUESTION: Message = {"role": "user", "content": "Sample question"}
_MARK = "sampled_turn_7d3a"  # stands for what the model wrote; no message contains it


def written_turn(
    chat: ChatTokenizer, before: Sequence[int], ids: Sequence[int], tools: Tools
) -> Message:
    """The message that the model wrote, its thought and tool calls in fields of their own.

    A call that cannot be parsed stays in the content.

    Args:
        chat: the tokenizer.
        before: ids of the conversation before the turn.
        ids: of the turn.
        tools: the functions that the conversation offers; without any, nothing is a call.
    """
    thought, content = split_thought(decode(chat, ids))
    turn: Message = {"role": "assistant", "content": content}
    if thought:
        turn["reasoning_content"] = thought
    parsed = parse_tool_calls(chat, before, ids, tools) if tools else None
    if parsed is not None:
        turn["content"], turn["tool_calls"] = parsed
    return turn


def ids_between_turns(chat: ChatTokenizer, turn: Message, messages: Sequence[Message]) -> list[int]:
    """Ids of `messages` after a turn that the model ended, and of the beginning of its next turn.

    They are what the template writes after the end of the turn. Control tokens in the messages are
    letters.

    Args:
        chat: the tokenizer.
        turn: what the model wrote; only its tool calls matter.
        messages: what follows it.

    Raises:
        DataError: the template cannot render the messages, leaves them out, or ends no turn in the
            middle of a conversation.
    """
    conversation = [_QUESTION, _marked(turn)]
    alone, _ = hidden_text(chat, conversation, ())
    whole, forged = hidden_text(chat, [*conversation, *messages], (), generation_prompt=True)
    before, end_id, rest = _split_at_end(chat, whole.partition(_MARK)[2])
    # What the template writes before the end must be the turn's own, not the messages.
    if end_id is None or before != _split_at_end(chat, alone.partition(_MARK)[2])[0]:
        raise DataError(
            "the chat template does not end an assistant's turn that messages follow with an EOS "
            "token, so the tokens after it are unknown; give another with chat_template: FILE.",
            code="template-error",
        )
    # Encoded with the end before it: some tokenizers put a space before the first word of a text.
    ids = encode_text(chat, rest, forged)
    return ids[ids.index(end_id) + 1 :]


def _split_at_end(chat: ChatTokenizer, text: str) -> tuple[str, int | None, str]:
    """(text before the first EOS token, its id, text from it on); (text, None, "") without one."""
    ends = {str(chat.tokenizer.convert_ids_to_tokens(i)): i for i in chat.eos_token_ids}
    places = {text.index(end): end for end in ends if end in text}
    if not places:
        return text, None, ""
    start = min(places)
    return text[:start], ends[places[start]], text[start:]


def _marked(turn: Message) -> Message:
    """The turn with the mark in place of its text, or of the arguments of its calls."""
    calls = turn.get("tool_calls")
    if not calls:
        return {"role": "assistant", "content": _MARK}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [_marked_call(call) for call in calls],
    }


def _marked_call(call: Mapping[str, object]) -> Mapping[str, object]:
    function = cast(Mapping[str, object], call["function"])
    return {**call, "function": {**function, "arguments": {"text": _MARK}}}
