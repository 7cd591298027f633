"""Conversations as texts, and the ids of rendered texts, for servers and other trainers."""

from functools import partial

from rlhf.data.tokenization.chat import prompt_text
from rlhf.data.tokenization.rendering import as_messages, conversation_text, raw_ids
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.rewards.http_shapes import Texts
from rlhf.types import Message, Prompt, Tools

PROBE = "\u2e28probe\u2e29"  # a response that no template changes


def reward_texts(chat: ChatTokenizer) -> Texts:
    """The texts of prompts and responses by a policy's chat template."""
    return Texts(prompt=partial(prompt_text, chat), whole=partial(whole_text, chat), raw=chat.raw)


def whole_text(chat: ChatTokenizer, prompt: Prompt, response: str, tools: Tools = ()) -> str:
    """Prompt and response, rendered, with the end of the turn; a response without its thought."""
    response = split_thought(response)[1]
    if chat.raw:
        return prompt_text(chat, prompt, tools) + response
    turn: Message = {"role": "assistant", "content": response}
    return conversation_text(chat, [*as_messages(prompt), turn], tools)


def rendered_ids(chat: ChatTokenizer, text: str) -> list[int]:
    """Ids of a conversation that another program rendered, as a reward model reads it.

    Control tokens in the text are control tokens. Padding around the text is left out, and the end
    of the turn is the one that the model's own template writes, whether the text ends with it, with
    an EOS alone, or in the middle of a response.
    """
    tokenizer = chat.tokenizer
    pad, eos = tokenizer.pad_token or "", tokenizer.eos_token or ""
    for token in filter(None, (pad, eos)):
        while text.endswith(token):
            text = text.removesuffix(token)
    while pad and text.startswith(pad):
        text = text.removeprefix(pad)
    if chat.raw:
        return [*raw_ids(chat, text), chat.end_token_id]
    end = turn_end(chat)
    for written in (end, end.rstrip()):
        if written and text.endswith(written):
            text = text.removesuffix(written)
            break
    return list(tokenizer(text + end, add_special_tokens=False)["input_ids"])


def turn_end(chat: ChatTokenizer) -> str:
    """What the template writes after the content of the last response."""
    return whole_text(chat, "Hi", PROBE).rpartition(PROBE)[2]
