"""Token ids of conversations, the same for SFT, reward model, PPO, evaluation and chat.

A response is the last turn of a conversation that the model's own template renders once; a prompt
is the rendering with `add_generation_prompt=True`. With `chat_template: none` a prompt is a string
and stays unchanged. No text can forge a control token: `<|im_start|>system` in a prompt is read as
letters.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.data.tokenization.decode import decode as decode
from rlhf.data.tokenization.rendering import as_messages as as_messages
from rlhf.data.tokenization.rendering import (
    conversation_ids,
    conversation_text,
    raw_ids,
    raw_text,
)
from rlhf.data.tokenization.template_format import shared_length
from rlhf.data.tokenization.thoughts import END_THINK, split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import reject_row
from rlhf.types import Demonstration, Message, Prompt, Tools


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A conversation as a model reads it; its last turn is a response."""

    ids: list[int]
    trained: list[bool]  # one per id; True on the ids that the model itself has to write
    prompt_length: int  # number of ids before the last response


def prompt_text(chat: ChatTokenizer, prompt: Prompt, tools: Tools = ()) -> str:
    """The text that a response follows: rendered, with the beginning of the assistant's turn.

    Raises:
        DataError: a conversation where prompts are raw, or one that the template rejects.
    """
    if chat.raw:
        return raw_text(prompt, tools)
    return conversation_text(chat, as_messages(prompt), tools, generation_prompt=True)


def prompt_ids(chat: ChatTokenizer, prompt: Prompt, tools: Tools = ()) -> list[int]:
    """Ids of `prompt_text` to generate from; raw prompts get the tokenizer's start tokens."""
    if chat.raw:
        return raw_ids(chat, raw_text(prompt, tools))
    return conversation_ids(chat, as_messages(prompt), tools, generation_prompt=True)[1]


def judged_ids(chat: ChatTokenizer, prompt: Prompt, response: str, tools: Tools = ()) -> list[int]:
    """Ids that a reward model reads; the reward is read at the last one.

    They are exactly those of `apply_chat_template` of plain transformers. Raw prompts and responses
    end with EOS. A response is read without its thought, unless the reward model reads thoughts.
    """
    if not chat.reads_thoughts:
        response = split_thought(response)[1]
    if chat.raw:
        return sequence_ids(chat, prompt, response)
    return conversation_ids(chat, [*as_messages(prompt), _response_turn(response)], tools)[1]


def judged_once(chat: ChatTokenizer) -> Callable[..., list[int]]:
    """`judged_ids` of this tokenizer with a cache: several annotators rank the same responses."""
    cache: dict[str, list[int]] = {}

    def ids_of(prompt: Prompt, response: str, tools: Tools = ()) -> list[int]:
        key = json.dumps([prompt, response, list(tools)])
        if key not in cache:
            cache[key] = judged_ids(chat, prompt, response, tools)
        return cache[key]

    return ids_of


def encode_response(
    chat: ChatTokenizer, prompt: Prompt, response: str | Message, tools: Tools = ()
) -> Encoded:
    """Prompt and response as one conversation, `trained` on the response and its end.

    The ids are those of `apply_chat_template`; an end token follows where the template writes
    none. A response that is a message may carry `reasoning_content`, `tool_calls` and `cut`: the
    end of a response that was cut off is not trained on.
    """
    turn = response if not isinstance(response, str) else _response_turn(response)
    if chat.raw:
        return _encode_raw(chat, prompt, turn, tools)
    return _encode_last(chat, [*as_messages(prompt), turn], tools)


def training_examples(chat: ChatTokenizer, row: Demonstration) -> list[Encoded]:
    """The examples of SFT: one, or one more for each turn that the template rewrites later.

    Earlier assistant turns are trained on too where the row has `every_turn`. Templates drop the
    thoughts of earlier turns: a turn that the whole conversation renders differently than it was
    written is an example of its own, which ends with it.

    Raises:
        DataError: there is no turn to train on, or one cannot be rendered.
    """
    if chat.raw:
        return [encode_response(chat, row.prompt, row.turn, row.tools)]
    turns = [*as_messages(row.prompt), row.turn]
    _check_thoughts(chat, turns if row.every_turn else turns[-1:])
    last = _encode_last(chat, turns, row.tools)
    trained = list(last.trained) if _weight(turns[-1]) else [False] * len(last.ids)
    apart: list[Encoded] = []
    for index, turn in enumerate(turns[:-1] if row.every_turn else []):
        if index == 0 or turn["role"] != "assistant" or not _weight(turn):
            continue  # the first turn of a conversation that the assistant begins has no prompt
        part = _encode_last(chat, turns[: index + 1], row.tools)
        end = len(part.trained) - part.trained[::-1].index(True)
        if part.ids[:end] == last.ids[:end]:
            trained[part.prompt_length : end] = part.trained[part.prompt_length : end]
        else:
            apart.append(part)
    whole = Encoded(ids=last.ids, trained=trained, prompt_length=last.prompt_length)
    examples = [*apart, *([whole] if any(trained) else [])]
    if not examples:
        reject_row("every assistant turn has weight 0: there is nothing to train on")
    return examples


def sequence_ids(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[int]:
    """Ids of prompt and response up to the EOS id that ends the turn."""
    encoded = encode_response(chat, prompt, response)
    return encoded.ids[: len(encoded.ids) - encoded.trained[::-1].index(True)]


def completion_mask(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[bool]:
    """True on the tokens of `sequence_ids` that the model itself has to write, with its EOS.

    A token that spans prompt and response (a raw prompt may end within a word) belongs to the
    response.
    """
    encoded = encode_response(chat, prompt, response)
    return encoded.trained[: len(encoded.ids) - encoded.trained[::-1].index(True)]


def _response_turn(response: str) -> Message:
    return {"role": "assistant", "content": response}


def _weight(turn: Message) -> int:
    return int(turn.get("weight", 1))


def _check_thoughts(chat: ChatTokenizer, turns: Sequence[Message]) -> None:
    """Reject thoughts to train on that the template leaves out, or that no prompt leads to.

    With enable_thinking false the prompt ends with a closed thought: a model never writes another.
    """
    template = chat.format
    trained = [turn for turn in turns if turn["role"] == "assistant" and _weight(turn)]
    if not any(
        turn.get("reasoning_content") or split_thought(turn["content"])[0] for turn in trained
    ):
        return
    if not template.renders_thoughts and not template.keeps_tags:
        reject_row(
            "the chat template leaves out the thought in an assistant's content; give a "
            "template that keeps it with chat_template: FILE, or remove the thought"
        )
    if template.renders_thoughts and END_THINK in template.prompt_tail:
        reject_row(
            "a response has a thought, but the prompt ends with a closed one "
            f"({template.prompt_tail!r}); remove the thought, or set chat_template_kwargs: "
            '{"enable_thinking": true}, if the template has that variable'
        )


def _encode_last(chat: ChatTokenizer, turns: Sequence[Message], tools: Tools) -> Encoded:
    before, prompt = conversation_ids(chat, turns[:-1], tools, generation_prompt=True)
    whole, ids = conversation_ids(chat, turns, tools)
    _check_history(chat, before, whole)
    start = shared_length(prompt, ids[:-1])
    end_id = chat.end_token_id
    if not chat.writes_end:
        end_id = chat.call_end_id if turns[-1].get("tool_calls") else end_id
        ids = [*ids, end_id]
    elif turns[-1].get("tool_calls") and end_id not in ids[start:]:
        end_id = ids[-1]  # a call has an end of its own: `<|call|>` of gpt-oss
    if end_id not in ids[start:] or end_id not in chat.eos_token_ids:
        reject_row(_no_end_reason(turns[-1]))
    end = ids.index(end_id, start)
    last = end - _is_cut(turns[-1])
    trained = [start <= at <= last for at in range(len(ids))]
    return Encoded(ids=ids, trained=trained, prompt_length=start)


def _is_cut(turn: Message) -> bool:
    """Whether the text was cut off: the model would not have ended it there."""
    return turn.get("cut", False)


def _no_end_reason(turn: Message) -> str:
    """Why a response without its end cannot be trained on, and what to do."""
    if turn.get("tool_calls"):
        return (
            "the chat template ends a tool call with a token that is no EOS of the model, which "
            "would not stop there; add it to eos_token_id of generation_config.json, or set "
            "weight: 0 on the turns that call tools"
        )
    return "the chat template does not end this response with the end of a turn"


def _check_history(chat: ChatTokenizer, before: str, whole: str) -> None:
    """Reject a conversation whose beginning the template renders differently with the response.

    The rendered conversation has to begin with its prompt, except for the generation prompt,
    which a template may render differently afterwards (an open thought is closed).
    """
    if whole.startswith(before):
        return
    if shared_length(before, whole) < len(before) - len(chat.format.prompt_tail):
        reject_row(
            "the chat template renders the turns before this response differently once it follows, "
            "so no prompt leads to it; give another template with chat_template: FILE"
        )


def _encode_raw(chat: ChatTokenizer, prompt: Prompt, turn: Message, tools: Tools) -> Encoded:
    text = raw_text(prompt, tools)
    before = raw_ids(chat, text)
    ids = [*raw_ids(chat, text + turn["content"]), chat.end_token_id]
    start = shared_length(before, ids[:-1])
    last = len(ids) - 1 - _is_cut(turn)
    trained = [start <= at <= last for at in range(len(ids))]
    return Encoded(ids=ids, trained=trained, prompt_length=start)
