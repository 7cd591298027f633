"""The choice of a tokenizer's chat template, its variables, and rendering with it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from rlhf.errors import ConfigError
from rlhf.types import Message

if TYPE_CHECKING:  # commands that read rows without a tokenizer do not wait for transformers
    from transformers import PreTrainedTokenizerBase

RENDER_ERRORS = (TemplateError, ValueError, TypeError, KeyError, AttributeError)


def choose_template(
    tokenizer: PreTrainedTokenizerBase, chat_template: str, notes: list[str]
) -> str:
    """Set `tokenizer.chat_template`; returns its origin: tokenizer, supplied, none or the file.

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
    """`chatml` where the vocabulary has its tokens, else `plain`, which needs letters and an EOS.

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
            "one; give chat_template: FILE, or chat_template: none for raw prompts.",
            code="template-error",
        )
    return "plain"


def supplied_template(name: str) -> str:
    """The text of `templates/NAME.jinja`."""
    return (resources.files("rlhf.data.tokenization") / "templates" / f"{name}.jinja").read_text(
        "utf-8"
    )


def parse_template_kwargs(
    text: str | None, key: str = "chat_template_kwargs"
) -> dict[str, object] | None:
    """The JSON object that the key's text contains; None where the key is not set.

    Raises:
        ConfigError: the text is not a JSON object, or a name in it cannot be a template variable.
    """
    if text is None:
        return None
    try:
        variables = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f'{key}={text!r} is not JSON ({error}); write {{"name": value}}.', code="bad-value"
        ) from None
    if not isinstance(variables, dict):
        raise ConfigError(
            f'{key}={text!r} is not a JSON object; write {{"name": value}}.', code="bad-value"
        )
    check_template_kwargs(variables)
    return variables


def check_template_kwargs(template_kwargs: Mapping[str, object]) -> None:
    """Raise for names that cannot be template variables, or values that are quoted booleans.

    Raises:
        ConfigError: the name.
    """
    if not template_kwargs:
        return
    from transformers import PreTrainedTokenizerBase  # takes seconds, and most runs set none

    arguments = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    for key, value in template_kwargs.items():
        if value in ("true", "false", "True", "False"):
            raise ConfigError(
                f"chat_template_kwargs: {key} is the text {value!r}, which every template takes as "
                f"true; write {str(value).lower()} without quotes.",
                code="bad-value",
            )
        if key in arguments or key == "messages" or not key.isidentifier():
            raise ConfigError(
                f"chat_template_kwargs: {key!r} cannot be a variable of a chat template; "
                'give variables such as {"enable_thinking": false}.',
                code="bad-value",
            )


def check_variables(
    tokenizer: PreTrainedTokenizerBase, source: str, template_kwargs: Mapping[str, object]
) -> None:
    """Raise for variables that the chat template does not use: they would change nothing.

    Raises:
        ConfigError: the variable, and one of a similar name.
    """
    words = set(re.findall(r"\w+", str(tokenizer.chat_template)))
    for name in template_kwargs:
        if name not in words:
            similar = get_close_matches(name, words, 1)
            raise ConfigError(
                f"chat_template_kwargs: the chat template ({source}) has no variable {name!r}, "
                "so it would change nothing; "
                + (f"did you mean {similar[0]!r}?" if similar else "leave it out."),
                code="unknown-key",
            )


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    template_kwargs: Mapping[str, object],
    tools: Sequence[Mapping[str, object]] = (),
    generation_prompt: bool = False,
) -> str:
    """The conversation as the template writes it.

    Args:
        tokenizer: has the template.
        messages: the conversation.
        template_kwargs: variables of the template.
        tools: JSON schemas of tools.
        generation_prompt: whether the beginning of the assistant's turn follows.

    Raises:
        any of RENDER_ERRORS: the template's own error.
    """
    # transformers' own types allow texts alone, and know no variables.
    turns: list[dict[str, Any]] = [dict(message) for message in messages]
    variables: dict[str, Any] = dict(template_kwargs)
    return str(
        tokenizer.apply_chat_template(
            turns,
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=generation_prompt,
            **variables,
        )
    )


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"chat_template {path} cannot be read ({error}); use auto, none or a Jinja file.",
            code="unreadable-file",
        ) from error
