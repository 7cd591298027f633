"""The tokenizer of a model, checked against the model's configuration."""

from collections.abc import Mapping
from pathlib import Path

from rlhf.data.tokenization.tokenizer import (
    ChatTokenizer,
    check_vocabulary,
    load_tokenizer,
    with_positions,
)
from rlhf.models.load import load_config


def tokenizer_of_model(
    model: str | Path,
    chat_template: str,
    *,
    template_kwargs: Mapping[str, object] | None = None,
    judges: bool = False,
) -> ChatTokenizer:
    """The tokenizer, with the number of positions of the model. Reads no weights.

    Args:
        model: a folder or hub id.
        chat_template: auto, none, or a Jinja file.
        template_kwargs: variables of the template; None takes those the model was trained with.
        judges: whether it is a reward model.

    Raises:
        CheckpointError: no model or tokenizer, or a tokenizer larger than the model.
        ConfigError: a template that cannot be used.
    """
    chat = load_tokenizer(str(model), chat_template, template_kwargs=template_kwargs, judges=judges)
    config = load_config(model)
    check_vocabulary(config, chat)
    return with_positions(chat, config)
