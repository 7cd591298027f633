"""Which chat template a tokenizer uses, and what it writes around a response.

A template is a program, so that it is not read but tried: `read_format` renders a few probe
conversations and compares the texts.
"""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rlhf.data.tokenization.thoughts import END_THINK, THINK, with_thought
from rlhf.errors import ConfigError
from rlhf.types import Message

QUESTION, ANSWER, THOUGHT = "Sample question", "Sample answer", "Sample thought"
_USER: Message = {"role": "user", "content": QUESTION}
_ASSISTANT: Message = {"role": "assistant", "content": ANSWER}
_SYSTEM: Message = {"role": "system", "content": QUESTION}
_CALL = {"type": "function", "function": {"name": "sample_tool", "arguments": {"place": "here"}}}
_TOOL = {
    "type": "function",
    "function": {
        "name": "sample_tool",
        "description": "Looks up a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
RENDER_ERRORS = (TemplateError, ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class TemplateFormat:
    """What a chat template writes around a response, and which fields of a message it renders."""

    prompt_tail: str  # what add_generation_prompt=True adds after the user's turn
    lead: str  # what the model writes before a response without a thought
    after: str  # what follows a response, to the end of the conversation
    before_next: str  # what follows a response that another user turn follows
    before_result: str  # what follows a tool call that its result follows
    thought_open: str  # what the model writes before a thought
    thought_close: str  # between a thought and the response
    renders_thoughts: bool  # whether reasoning_content is part of the text
    keeps_tags: bool  # whether a thought in the content, as <think>…</think>, is part of the text
    prompt_opens_thought: bool  # whether the generation prompt ends inside a thought
    renders_tools: bool
    renders_tool_calls: bool
    roles: frozenset[str]  # roles whose content the template renders
    without_thoughts: str  # a conversation without thoughts and tools, as it is rendered

    @property
    def marker(self) -> str:
        """The text after which the response itself begins; "" where nothing is before it.

        With a thought before the response or without, it is the same: the common end of `lead`
        and `thought_close` (`</think>` of Qwen3, the header of gpt-oss's final channel).
        """
        if not self.renders_thoughts:
            return self.lead.strip()
        first, second = self.lead.rstrip()[::-1], self.thought_close.rstrip()[::-1]
        return first[: shared_length(first, second)][::-1].strip() or self.thought_close.strip()


def choose_template(
    tokenizer: PreTrainedTokenizerBase, chat_template: str, notes: list[str]
) -> str:
    """Set `tokenizer.chat_template`; where it came from: tokenizer, supplied, none or the file.

    Raises:
        ConfigError: the file cannot be read, or the vocabulary cannot spell a supplied template.
    """
    if chat_template == "none":
        tokenizer.chat_template = None
        return "none"
    if chat_template != "auto":
        tokenizer.chat_template = _read_template(Path(chat_template))
        return chat_template
    if tokenizer.chat_template is not None:
        return "tokenizer"
    name = supplied_name(tokenizer)
    tokenizer.chat_template = supplied_template(name)
    notes.append(f"The tokenizer has no chat template; the supplied one `{name}` is used.")
    return "supplied"


def supplied_name(tokenizer: PreTrainedTokenizerBase) -> str:
    """`chatml` where the vocabulary has its tokens, else `plain`, which needs letters and EOS.

    Raises:
        ConfigError: the vocabulary cannot spell even the plain one.
    """
    vocabulary = tokenizer.get_vocab()
    if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
        return "chatml"
    spelled = "System:\nUser:\nAssistant:\n"
    ids = tokenizer(spelled, add_special_tokens=False)["input_ids"]
    if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
        raise ConfigError(
            "the tokenizer has no chat template, and its vocabulary cannot spell the supplied "
            "one; give chat_template: FILE, or chat_template: none for raw prompts."
        )
    return "plain"


def supplied_template(name: str) -> str:
    """The text of `templates/NAME.jinja`."""
    return (resources.files("rlhf.data.tokenization") / "templates" / f"{name}.jinja").read_text(
        "utf-8"
    )


def parse_template_kwargs(text: str | None, key: str = "chat_template_kwargs") -> Any:
    """What the JSON text of the key holds, an object; None where it is not set.

    Raises:
        ConfigError: it is no JSON object, or names something that is no template variable.
    """
    if text is None:
        return None
    try:
        variables = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f'{key}={text!r} is no JSON ({error}); write {{"name": value}}.'
        ) from None
    if not isinstance(variables, dict):
        raise ConfigError(f'{key}={text!r} is no JSON object; write {{"name": value}}.')
    check_template_kwargs(variables)
    return variables


def check_template_kwargs(template_kwargs: Mapping[str, Any]) -> None:
    """Raise for keys that are arguments of `apply_chat_template` and no template variables.

    Raises:
        ConfigError: the key.
    """
    taken = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    for key, value in template_kwargs.items():
        if value in ("true", "false", "True", "False"):
            raise ConfigError(
                f"chat_template_kwargs: {key} is the text {value!r}, which every template takes as "
                f"true; write {str(value).lower()} without quotes."
            )
        if key in taken or key == "messages" or not key.isidentifier():
            raise ConfigError(
                f"chat_template_kwargs: {key!r} is no variable of a chat template; "
                'give variables such as {"enable_thinking": false}.'
            )


def check_variables(
    tokenizer: PreTrainedTokenizerBase, source: str, template_kwargs: Mapping[str, Any]
) -> None:
    """Raise for variables that the chat template does not name: they would change nothing.

    Raises:
        ConfigError: the variable, and one of a similar name.
    """
    words = set(re.findall(r"\w+", str(tokenizer.chat_template)))
    for name in template_kwargs:
        if name not in words:
            similar = get_close_matches(name, words, 1)
            raise ConfigError(
                f"chat_template_kwargs: the chat template ({source}) has no variable {name!r}, "
                "which would change nothing; "
                + (f"did you mean {similar[0]!r}?" if similar else "leave it out.")
            )


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    template_kwargs: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
    generation_prompt: bool = False,
) -> str:
    """The conversation as the template writes it.

    Raises:
        any of RENDER_ERRORS: what the template raises for it.
    """
    return str(
        tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=generation_prompt,
            **template_kwargs,
        )
    )


def read_format(
    tokenizer: PreTrainedTokenizerBase, source: str, template_kwargs: Mapping[str, Any]
) -> TemplateFormat:
    """What the template writes, found by rendering probes with these variables.

    Raises:
        ConfigError: the template fails on a question and an answer, or leaves the answer out.
    """

    def write(*messages: Message, prompt: bool = False, **more: Any) -> str:
        return render(
            tokenizer, messages, template_kwargs=template_kwargs, generation_prompt=prompt, **more
        )

    def holds(text: str, *messages: Message, **more: Any) -> bool:
        try:
            return text in write(*messages, **more)
        except RENDER_ERRORS:
            return False

    try:
        asked, prompt, whole = write(_USER), write(_USER, prompt=True), write(_USER, _ASSISTANT)
    except RENDER_ERRORS as error:
        raise ConfigError(
            f"the chat template ({source}) cannot be rendered: {error}; give another with "
            "chat_template: FILE."
        ) from error
    before, found, after = whole.rpartition(ANSWER)
    if not before or not found or QUESTION not in before:
        raise ConfigError(
            f"the chat template ({source}) renders no question and answer: {whole!r}; "
            "give another with chat_template: FILE."
        )
    shared = shared_length(prompt, before)
    thinking: Message = {**_ASSISTANT, "reasoning_content": THOUGHT}
    opening, renders_thoughts, rest = _try(write, _USER, thinking).partition(THOUGHT)
    opening = opening if renders_thoughts else ""
    tagged: Message = {**_ASSISTANT, "content": with_thought(THOUGHT, ANSWER)}
    tail = prompt[shared_length(asked, prompt) :]
    called: Message = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    result: Message = {"role": "tool", "content": ANSWER, "name": "sample_tool"}
    roles = {"user", "assistant"}
    roles |= {r for r in ("system", "developer") if holds(ANSWER, _said_by(r), _USER)}
    asks, told = _try(write, _USER, called), _try(write, _USER, called, result)
    roles |= {"tool"} if holds(ANSWER, _USER, called, result, _ASSISTANT) else set()
    return TemplateFormat(
        prompt_tail=tail,
        lead=before[shared:],
        after=after,
        before_next=_try(write, _USER, _ASSISTANT, _USER).partition(ANSWER)[2] or after,
        before_result=told[len(asks) :] if asks and told.startswith(asks) else "",
        thought_open=opening[shared_length(opening, prompt) :],
        thought_close=rest.partition(ANSWER)[0] if renders_thoughts else "",
        renders_thoughts=bool(renders_thoughts),
        keeps_tags=holds(THOUGHT, _USER, tagged),
        prompt_opens_thought=tail.rstrip().endswith(THINK)
        or (bool(renders_thoughts) and prompt.rstrip() == opening.rstrip()),
        renders_tools=holds("sample_tool", _USER, _ASSISTANT, tools=[_TOOL]),
        renders_tool_calls=holds("sample_tool", _USER, called),
        roles=frozenset(roles),
        without_thoughts=_without_tags(f"{whole}{prompt}{_try(write, _SYSTEM, _USER)}"),
    )


def shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Length of the common beginning of two texts, or of two lists of ids."""
    shortest = min(len(first), len(second))
    return next((at for at in range(shortest) if first[at] != second[at]), shortest)


def end_of_turn(
    tokenizer: PreTrainedTokenizerBase, eos_ids: Sequence[int], after: str
) -> int | None:
    """The id of the token that ends a response, where `after` is the text that follows it.

    It is the first token of `after`, an EOS or another token that was added to the vocabulary,
    which then counts as one. Where an EOS follows such a token directly it is that EOS (Cohere's
    `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`). None: text or nothing follows the response, and a
    model trained to write so would never stop.
    """
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
    added = set(tokenizer.added_tokens_decoder)
    if not ids or ids[0] not in added | set(eos_ids):
        return None
    return int(ids[1] if len(ids) > 1 and ids[0] not in eos_ids and ids[1] in eos_ids else ids[0])


def _try(write: Any, *messages: Message) -> str:
    try:
        return str(write(*messages))
    except RENDER_ERRORS:
        return ""


def _without_tags(text: str) -> str:
    """Tags of a thought are content, also where the template writes an empty one."""
    return text.replace(THINK, "").replace(END_THINK, "")


def _said_by(role: str) -> Message:
    return {"role": role, "content": ANSWER}


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"chat_template {path} cannot be read ({error}); use auto, none or a Jinja file."
        ) from error
