"""What a generative reward model reads: its settings, and the rubric around a response."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import ClassVar

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import ConfigError, DataError
from rlhf.runtime.config import parse_config, read_yaml
from rlhf.runtime.field_types import check_field_types
from rlhf.types import Message, Prompt

SUPPLIED = "rubric.jinja"
PROBE, RESPONSE_PROBE = "the prompt", "\u2e28the response\u2e29"  # to see whether a rubric has both


@dataclass(frozen=True, kw_only=True)
class GenerativeConfig:
    """Keys of a generative reward model."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("verdicts", "chat_template_kwargs")

    model: str = field(metadata={"help": "Folder or hub id of the language model."})
    verdicts: str = field(
        metadata={
            "help": 'Reward of each verdict as JSON, such as {"good": 1, "bad": 0}. The reward of '
            "a response is their mean, weighted by their probabilities."
        }
    )
    rubric: str | None = field(
        default=None,
        metadata={
            "help": "Jinja file of the text that the model reads, with conversation, messages, "
            "response and verdicts. Default: the supplied one."
        },
    )
    chat_template: str = field(
        default="auto", metadata={"help": "auto, none (the rubric is the whole text), or a file."}
    )
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)

    def __post_init__(self) -> None:
        check_field_types(self)
        parse_template_kwargs(self.chat_template_kwargs)
        _check_verdicts(self.values)

    @property
    def values(self) -> Mapping[str, float]:
        """The reward of each verdict.

        Raises:
            ConfigError: `verdicts` is not a JSON object.
        """
        try:
            values = json.loads(self.verdicts)
        except ValueError as error:
            raise ConfigError(
                f"verdicts={self.verdicts!r} is not JSON ({error}).", code="bad-value"
            ) from None
        if not isinstance(values, dict):
            raise ConfigError(
                f'verdicts={self.verdicts!r} is not a JSON object; write {{"word": reward}}.',
                code="bad-value",
            )
        return values


def read_generative(path: str | Path) -> GenerativeConfig:
    """The settings in a YAML file.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value cannot be used.
    """
    file = Path(path)
    words = read_yaml(file).get("verdicts")
    for word in words if isinstance(words, dict) else ():
        if not isinstance(word, str):
            raise ConfigError(
                f"{file}: verdicts has the key {word!r}, which YAML does not read as a word; put "
                'it in quotes, such as "yes".',
                code="bad-value",
            )
    (config,) = parse_config(GenerativeConfig, description=None, argv=["--config", str(file)])
    assert isinstance(config, GenerativeConfig)
    return config


class Rubric:
    """The text around a response, rendered by a Jinja template.

    Args:
        file: the template; None takes the supplied one.
        verdicts: the words that the template may name.

    Raises:
        ConfigError: there is no such file, or it does not render prompt and response.
    """

    def __init__(self, file: str | None, verdicts: Sequence[str]) -> None:
        self.name, self.verdicts = file or SUPPLIED, list(verdicts)
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            self._template: Template = environment.from_string(_text_of(file))
            text = self.text(PROBE, RESPONSE_PROBE)
        except (TemplateError, DataError) as error:
            raise ConfigError(
                f"rubric {self.name} cannot be rendered: {error}; it may use conversation, "
                "messages, response and verdicts.",
                code="template-error",
            ) from error
        if PROBE not in text or RESPONSE_PROBE not in text:
            missing = "the prompt" if PROBE not in text else "the response"
            raise ConfigError(
                f"rubric {self.name} leaves out {missing}; write {{{{ conversation }}}} and "
                "{{ response }} where they belong.",
                code="template-error",
            )

    def text(self, prompt: Prompt, response: str) -> str:
        """The text about a response, which is read without its thought.

        Raises:
            DataError: the template fails on this prompt.
        """
        messages = _messages(prompt)
        try:
            return self._template.render(
                conversation=conversation_text(prompt),
                messages=messages,
                response=split_thought(response)[1],
                verdicts=self.verdicts,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise DataError(
                f"rubric {self.name} fails on the prompt {str(prompt)[:120]!r}: {error}",
                code="template-error",
            ) from error


def conversation_text(prompt: Prompt) -> str:
    """The turns of a prompt as text, a line that begins with the role for each."""
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in _messages(prompt))


def _messages(prompt: Prompt) -> list[Message]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _text_of(file: str | None) -> str:
    if file is None:
        return (resources.files("rlhf.rewards") / SUPPLIED).read_text("utf-8")
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"rubric {file} cannot be read: {error}", code="missing-file") from error


def _check_verdicts(values: Mapping[str, float]) -> None:
    """Check that there are two words or more with different finite rewards."""
    for word, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not word.strip() or not is_number or not math.isfinite(value):
            raise ConfigError(
                f"verdicts: {word!r} has the reward {value!r}; use a word and a finite number.",
                code="bad-value",
            )
    if len(set(values.values())) < 2:
        raise ConfigError(
            f"verdicts={json.dumps(values)} gives every response the same reward; use two words "
            "or more with different rewards.",
            code="bad-value",
        )
