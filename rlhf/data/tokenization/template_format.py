"""The texts that a chat template writes around a response, and the fields that it renders.

A template is a program: instead of parsing it, `read_format` renders a few probe conversations and
compares the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf.data.tokenization.template import RENDER_ERRORS, render
from rlhf.data.tokenization.thoughts import END_THINK, THINK, with_thought
from rlhf.errors import ConfigError
from rlhf.types import Message

if TYPE_CHECKING:  # commands that read rows without a tokenizer do not wait for transformers
    from transformers import PreTrainedTokenizerBase

QUESTION, ANSWER, THOUGHT, TOOL_NAME = (
    "Sample question",
    "Sample answer",
    "Sample thought",
    "sample_tool",
)
TOOL_ARGUMENTS = {"place": "here"}
_USER: Message = {"role": "user", "content": QUESTION}
_ASSISTANT: Message = {"role": "assistant", "content": ANSWER}
_SYSTEM: Message = {"role": "system", "content": QUESTION}
_CALL = {"type": "function", "function": {"name": TOOL_NAME, "arguments": TOOL_ARGUMENTS}}
_CALLING: Message = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_RESULT: Message = {"role": "tool", "content": ANSWER, "name": TOOL_NAME}
_TOOL = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Looks up a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}


@dataclass(frozen=True, kw_only=True)
class TemplateFormat:
    """The texts around a response, and which fields of a message the template renders."""

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
    tool_call: (
        str  # what the template writes for a call of TOOL_NAME with TOOL_ARGUMENTS, to the end
    )
    roles: frozenset[str]  # roles whose content the template renders
    without_thoughts: str  # a rendered conversation without thoughts and tools

    @property
    def marker(self) -> str:
        """The text after which the response itself begins; "" where nothing precedes it.

        It is the same with and without a thought: the common end of `lead` and `thought_close`
        (`</think>` of Qwen3, the header of gpt-oss's final channel).
        """
        if not self.renders_thoughts:
            return self.lead.strip()
        first, second = self.lead.rstrip()[::-1], self.thought_close.rstrip()[::-1]
        return first[: shared_length(first, second)][::-1].strip() or self.thought_close.strip()


@dataclass(frozen=True)
class _Probe:
    """Renders probe conversations with one template and its variables."""

    tokenizer: PreTrainedTokenizerBase
    template_kwargs: Mapping[str, object]

    def write(
        self,
        *messages: Message,
        generation_prompt: bool = False,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> str:
        """The rendered conversation; raises one of RENDER_ERRORS where the template does."""
        return render(
            self.tokenizer,
            messages,
            template_kwargs=self.template_kwargs,
            tools=tools,
            generation_prompt=generation_prompt,
        )

    def try_write(self, *messages: Message, tools: Sequence[Mapping[str, object]] = ()) -> str:
        """The rendered conversation; "" where the template raises an error."""
        try:
            return self.write(*messages, tools=tools)
        except RENDER_ERRORS:
            return ""

    def renders(
        self, text: str, *messages: Message, tools: Sequence[Mapping[str, object]] = ()
    ) -> bool:
        """Whether the rendered conversation contains the text."""
        return text in self.try_write(*messages, tools=tools)


def read_format(
    tokenizer: PreTrainedTokenizerBase, source: str, template_kwargs: Mapping[str, object]
) -> TemplateFormat:
    """The format of the tokenizer's template, found by rendering probes with these variables.

    Args:
        tokenizer: has the template.
        source: where the template is from, for messages.
        template_kwargs: variables of the template.

    Raises:
        ConfigError: the template fails on a question and an answer, or leaves one of them out.
    """
    probe = _Probe(tokenizer, template_kwargs)
    question, prompt, whole = _write_prompt_and_response(probe, source)
    before, _, after = whole.rpartition(ANSWER)
    thinking: Message = {**_ASSISTANT, "reasoning_content": THOUGHT}
    opening, thought, rest = probe.try_write(_USER, thinking).partition(THOUGHT)
    opening = opening if thought else ""
    tagged: Message = {**_ASSISTANT, "content": with_thought(THOUGHT, ANSWER)}
    tail = prompt[shared_length(question, prompt) :]
    call = probe.try_write(_USER, _CALLING)
    with_result = probe.try_write(_USER, _CALLING, _RESULT)
    without_thoughts = f"{whole}{prompt}{probe.try_write(_SYSTEM, _USER)}"
    return TemplateFormat(
        prompt_tail=tail,
        lead=before[shared_length(prompt, before) :],
        after=after,
        before_next=probe.try_write(_USER, _ASSISTANT, _USER).partition(ANSWER)[2] or after,
        before_result=with_result[len(call) :] if call and with_result.startswith(call) else "",
        thought_open=opening[shared_length(opening, prompt) :],
        thought_close=rest.partition(ANSWER)[0] if thought else "",
        renders_thoughts=bool(thought),
        keeps_tags=probe.renders(THOUGHT, _USER, tagged),
        prompt_opens_thought=tail.rstrip().endswith(THINK)
        or (bool(thought) and prompt.rstrip() == opening.rstrip()),
        renders_tools=probe.renders(TOOL_NAME, _USER, _ASSISTANT, tools=[_TOOL]),
        renders_tool_calls=TOOL_NAME in call,
        tool_call=call[shared_length(prompt, call) :],
        roles=_rendered_roles(probe),
        # Tags of a thought are content, also where the template writes an empty one.
        without_thoughts=without_thoughts.replace(THINK, "").replace(END_THINK, ""),
    )


def _write_prompt_and_response(probe: _Probe, source: str) -> tuple[str, str, str]:
    """A question alone, with the generation prompt, and with an answer.

    Raises:
        ConfigError: see `read_format`.
    """
    try:
        question, prompt = probe.write(_USER), probe.write(_USER, generation_prompt=True)
        whole = probe.write(_USER, _ASSISTANT)
    except RENDER_ERRORS as error:
        raise ConfigError(
            f"the chat template ({source}) cannot be rendered: {error}; give another with "
            "chat_template: FILE.",
            code="template-error",
        ) from error
    before, separator, _ = whole.rpartition(ANSWER)
    if not before or not separator or QUESTION not in before:
        raise ConfigError(
            f"the chat template ({source}) does not render a question and its answer: {whole!r}; "
            "give another with chat_template: FILE.",
            code="template-error",
        )
    return question, prompt, whole


def _rendered_roles(probe: _Probe) -> frozenset[str]:
    roles = {"user", "assistant"}
    for role in ("system", "developer"):
        if probe.renders(ANSWER, {"role": role, "content": ANSWER}, _USER):
            roles.add(role)
    if probe.renders(ANSWER, _USER, _CALLING, _RESULT, _ASSISTANT):
        roles.add("tool")
    return frozenset(roles)


def format_notes(template: TemplateFormat) -> list[str]:
    """Sentences on how responses and thoughts are written, where something precedes them."""
    notes = []
    if template.lead.strip() and template.renders_thoughts:
        notes.append(
            f"A response without a thought is written as the template writes one, after "
            f"{template.lead!r}; the loss covers it."
        )
    elif template.lead.strip():
        notes.append(
            f"The template ignores add_generation_prompt: the model itself has to write "
            f"{template.lead!r} before a response."
        )
    if template.prompt_opens_thought:
        notes.append(
            f"Generation starts after {template.prompt_tail!r}, inside a thought; "
            + (
                "to train and sample without thoughts set chat_template_kwargs: "
                '{"enable_thinking": false}, if the template has that variable.'
                if template.renders_thoughts
                else "the template leaves thoughts out of conversations, so SFT trains a "
                "response that follows none; give a template that keeps them with "
                "chat_template: FILE."
            )
        )
    return notes


def shared_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the common beginning of two texts, or of two lists of ids."""
    shortest = min(len(first), len(second))
    return next((at for at in range(shortest) if first[at] != second[at]), shortest)


def end_of_turn(
    tokenizer: PreTrainedTokenizerBase, eos_ids: Sequence[int], after: str
) -> int | None:
    """The id of the token that ends a response, where `after` is the text that follows it.

    It is the first token of `after`, if that is an EOS or another token that was added to the
    vocabulary; such a token then counts as an EOS. Where an EOS follows such a token directly it is
    that EOS (Cohere's `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`). None means that text or nothing
    follows the response, so a model trained on it would never stop.
    """
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
    added = set(tokenizer.added_tokens_decoder)
    if not ids or ids[0] not in added | set(eos_ids):
        return None
    return int(ids[1] if len(ids) > 1 and ids[0] not in eos_ids and ids[1] in eos_ids else ids[0])
