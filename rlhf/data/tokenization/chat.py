"""Conversations -> token ids, one way for SFT, reward model, PPO, evaluation and chat.

A response is the last turn of a conversation that the model's own template renders once; a prompt
is what `add_generation_prompt=True` gives. With `chat_template: none` a prompt is a string and
stays as it is. No text can forge a control token: `<|im_start|>system` in a question is read as
those letters.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.data.tokenization.decode import decode as decode
from rlhf.data.tokenization.forgery import encode_text, hidden
from rlhf.data.tokenization.template import RENDER_ERRORS, render, shared_length
from rlhf.data.tokenization.thoughts import END_THINK, split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.types import Demonstration, Message, Prompt, Tools


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A conversation as a model reads it; its last turn is a response."""

    ids: list[int]
    trained: list[bool]  # one per id; True on what the model itself has to write
    prompt_length: int  # ids before the last response


def as_messages(prompt: Prompt) -> list[Message]:
    """The prompt as a conversation; a string is one user message."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def prompt_text(chat: ChatTokenizer, prompt: Prompt, tools: Tools = ()) -> str:
    """The text that a response follows: rendered, with the beginning of the assistant's turn.

    Raises:
        DataError: a conversation where prompts are raw, or one the template refuses.
    """
    if chat.raw:
        return _raw_text(prompt, tools)
    return _render(chat, as_messages(prompt), tools, generation_prompt=True)


def prompt_ids(chat: ChatTokenizer, prompt: Prompt, tools: Tools = ()) -> list[int]:
    """Ids of `prompt_text`, ready to generate from; raw prompts get the tokenizer's own start."""
    if chat.raw:
        return _raw_ids(chat, _raw_text(prompt, tools))
    return _ids(chat, as_messages(prompt), tools, generation_prompt=True)[1]


def judged_ids(chat: ChatTokenizer, prompt: Prompt, response: str, tools: Tools = ()) -> list[int]:
    """Ids of what a reward model reads, its last token the one that the reward is read at.

    What `apply_chat_template` of plain transformers gives for the conversation, to the id. Raw
    prompts and responses end with EOS. A response is judged without its thought, unless the
    reward model reads thoughts.
    """
    if not chat.reads_thoughts:
        response = split_thought(response)[1]
    if chat.raw:
        return sequence_ids(chat, prompt, response)
    return _ids(chat, [*as_messages(prompt), _response_turn(response)], tools)[1]


def judged_once(chat: ChatTokenizer) -> Callable[..., list[int]]:
    """`judged_ids` of this tokenizer, which encodes what comes again (ranked by several) once."""
    known: dict[str, list[int]] = {}

    def ids_of(prompt: Prompt, response: str, tools: Tools = ()) -> list[int]:
        key = json.dumps([prompt, response, list(tools)])
        if key not in known:
            known[key] = judged_ids(chat, prompt, response, tools)
        return known[key]

    return ids_of


def encode_response(
    chat: ChatTokenizer, prompt: Prompt, response: str | Message, tools: Tools = ()
) -> Encoded:
    """Prompt and response as one conversation, `trained` on the response and its end.

    The ids are those of `apply_chat_template`; an end token follows where the template writes
    none. A response given as a message may carry `reasoning_content` and `tool_calls`.
    """
    turn = response if not isinstance(response, str) else _response_turn(response)
    if chat.raw:
        return _encode_raw(chat, prompt, str(turn["content"]), tools)
    return _encode_last(chat, [*as_messages(prompt), turn], tools)


def training_examples(chat: ChatTokenizer, row: Demonstration) -> list[Encoded]:
    """What SFT trains on: one conversation, or one for each turn that the template rewrites later.

    Earlier assistant turns are trained too where the row asks for it (`every_turn`). A turn that
    the whole conversation renders otherwise than it was written (templates drop the thoughts of
    earlier turns) is an example of its own, which ends with it.

    Raises:
        DataError: no turn to train on, or one that cannot be rendered.
    """
    if chat.raw:
        return [encode_response(chat, row.prompt, row.completion, row.tools)]
    turns = [*as_messages(row.prompt), row.turn]
    _check_thoughts(chat, turns if row.every_turn else turns[-1:])
    last = _encode_last(chat, turns, row.tools)
    trained = list(last.trained) if _weight(turns[-1]) else [False] * len(last.ids)
    apart: list[Encoded] = []
    for index, turn in enumerate(turns[:-1] if row.every_turn else []):
        if index == 0 or turn["role"] != "assistant" or not _weight(turn):
            continue  # a conversation that the assistant begins has no prompt to its first turn
        part = _encode_last(chat, turns[: index + 1], row.tools)
        end = len(part.trained) - part.trained[::-1].index(True)
        if part.ids[:end] == last.ids[:end]:
            trained[part.prompt_length : end] = part.trained[part.prompt_length : end]
        else:
            apart.append(part)
    whole = Encoded(ids=last.ids, trained=trained, prompt_length=last.prompt_length)
    examples = [*apart, *([whole] if any(trained) else [])]
    if not examples:
        raise DataError("every assistant turn has weight 0: there is nothing to train on")
    return examples


def sequence_ids(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[int]:
    """Ids of prompt and response up to the end of the turn, an EOS id, last."""
    encoded = encode_response(chat, prompt, response)
    return encoded.ids[: len(encoded.ids) - encoded.trained[::-1].index(True)]


def completion_mask(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[bool]:
    """True on the tokens of `sequence_ids` that the model itself has to write, its EOS included.

    A token that spans prompt and response (a raw prompt may end within a word) is the response's.
    """
    encoded = encode_response(chat, prompt, response)
    return encoded.trained[: len(encoded.ids) - encoded.trained[::-1].index(True)]


def _response_turn(response: str) -> Message:
    return {"role": "assistant", "content": response}


def _weight(turn: Message) -> int:
    return int(turn.get("weight", 1))


def _check_thoughts(chat: ChatTokenizer, turns: Sequence[Message]) -> None:
    """Refuse to train thoughts that the template leaves out, or that follow no prompt.

    With enable_thinking false the prompt ends with a closed thought: a model never writes another.
    """
    form = chat.format
    own = [turn for turn in turns if turn["role"] == "assistant" and _weight(turn)]
    if not any(turn.get("reasoning_content") or split_thought(turn["content"])[0] for turn in own):
        return
    if not form.renders_thoughts and not form.keeps_tags:
        raise DataError(
            "the chat template leaves out the thought in an assistant's content; give a "
            "template that keeps it with chat_template: FILE, or leave the thought out"
        )
    if form.renders_thoughts and END_THINK in form.prompt_tail:
        raise DataError(
            "a response has a thought, and the prompt ends with a closed one "
            f"({form.prompt_tail!r}); leave the thought out, or set chat_template_kwargs: "
            '{"enable_thinking": true}, if the template has that variable'
        )


def _encode_last(chat: ChatTokenizer, turns: Sequence[Message], tools: Tools) -> Encoded:
    before, prompt = _ids(chat, turns[:-1], tools, generation_prompt=True)
    whole, ids = _ids(chat, turns, tools)
    _check_history(chat, before, whole)
    start = shared_length(prompt, ids[:-1])
    end_id = chat.end_token_id
    if not chat.writes_end:
        end_id = chat.call_end_id if turns[-1].get("tool_calls") else end_id
        ids = [*ids, end_id]
    elif turns[-1].get("tool_calls") and end_id not in ids[start:]:
        end_id = ids[-1]  # a call has an end of its own: `<|call|>` of gpt-oss
    if end_id not in ids[start:] or end_id not in chat.eos_token_ids:
        raise DataError(_no_end(turns[-1]))
    end = ids.index(end_id, start)
    trained = [start <= at <= end for at in range(len(ids))]
    return Encoded(ids=ids, trained=trained, prompt_length=start)


def _no_end(turn: Message) -> str:
    """Why a response without its end cannot be trained, and what to do."""
    if turn.get("tool_calls"):
        return (
            "the chat template ends a tool call with a token that is no EOS of the model, which "
            "would not stop there; name it in eos_token_id of generation_config.json, or set "
            "weight: 0 on the turns that call tools"
        )
    return "the chat template does not end this response with the end of a turn"


def _check_history(chat: ChatTokenizer, before: str, whole: str) -> None:
    """Refuse a conversation whose beginning is rewritten once it is answered.

    The rendered conversation has to share all of its prompt with it but the generation prompt,
    which a template may render otherwise after the fact (an open thought is closed).
    """
    if whole.startswith(before):
        return
    if shared_length(before, whole) < len(before) - len(chat.format.prompt_tail):
        raise DataError(
            "the chat template renders the turns before this response otherwise once it is there: "
            "no prompt leads to it; give another template with chat_template: FILE"
        )


def _ids(
    chat: ChatTokenizer,
    turns: Sequence[Message],
    tools: Tools,
    *,
    generation_prompt: bool = False,
) -> tuple[str, list[int]]:
    """The rendered text (with what was forged in it hidden) and its ids."""
    forged: list[str] = []
    safe = [hidden(chat, _template_turn(chat, turn), forged) for turn in turns]
    safe_tools = [hidden(chat, tool, forged) for tool in tools]
    text = _render(chat, safe, safe_tools, generation_prompt=generation_prompt)
    return text, encode_text(chat, text, forged)


def _template_turn(chat: ChatTokenizer, turn: Message) -> Message:
    """The message as the template takes it: a thought at the beginning of its text is a field."""
    fields = {key: value for key, value in turn.items() if key != "weight"}
    if turn["role"] != "assistant" or "reasoning_content" in turn:
        return fields
    thought, text = split_thought(turn["content"])
    if text == turn["content"] or not chat.format.renders_thoughts:
        return fields
    return {**fields, "content": text} | ({"reasoning_content": thought} if thought else {})


def _render(
    chat: ChatTokenizer,
    turns: Sequence[Message],
    tools: Tools,
    *,
    generation_prompt: bool = False,
) -> str:
    try:
        text = render(
            chat.tokenizer,
            turns,
            template_kwargs=chat.template_kwargs,
            tools=tools,
            generation_prompt=generation_prompt,
        )
    except RENDER_ERRORS as error:
        raise DataError(f"the chat template refuses the prompt: {error}") from error
    _check_fields(chat, turns, tools)
    return text


def _check_fields(chat: ChatTokenizer, turns: Sequence[Message], tools: Tools) -> None:
    """Refuse what the template would leave out without an error."""
    form = chat.format
    for turn in turns:
        if turn["role"] not in form.roles:
            raise DataError(f"the chat template leaves out the role {turn['role']!r}")
        if turn.get("reasoning_content") and not form.renders_thoughts:
            instead = "write them into the content as <think>…</think>, or " * form.keeps_tags
            raise DataError(
                f"the chat template leaves out thoughts (reasoning_content); {instead}give a "
                "template that has them with chat_template: FILE"
            )
        if turn.get("tool_calls") and not form.renders_tool_calls:
            raise DataError("the chat template leaves out tool_calls")
    if tools and not form.renders_tools:
        raise DataError("the chat template leaves out tools")


def _raw_text(prompt: Prompt, tools: Tools = ()) -> str:
    if not isinstance(prompt, str) or tools:
        what = "tools" if tools else "a conversation"
        raise DataError(f"{what} needs a chat template, and chat_template is none")
    return prompt


def _raw_ids(chat: ChatTokenizer, text: str) -> list[int]:
    ids = list(chat.tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
    # Some tokenizers close every text with EOS; what follows a prompt is a response.
    while ids and ids[-1] in chat.eos_token_ids and len(ids) > 1:
        ids.pop()
    return ids


def _encode_raw(chat: ChatTokenizer, prompt: Prompt, response: str, tools: Tools) -> Encoded:
    text = _raw_text(prompt, tools)
    before = _raw_ids(chat, text)
    ids = [*_raw_ids(chat, text + response), chat.end_token_id]
    start = shared_length(before, ids[:-1])
    trained = [at >= start for at in range(len(ids))]
    return Encoded(ids=ids, trained=trained, prompt_length=start)
