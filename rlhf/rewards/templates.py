"""Chat templates of reward models that read another one than their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rlhf.data.tokenization.template import check_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.kinds import kind_of

T = TypeVar("T")
TEMPLATE_HELP = (
    "Chat template of the reward models, one for all or one for each in their order: auto (their "
    "own), none, or a FILE."
)
KWARGS_HELP = (
    "Variables of the reward models' chat templates as JSON, an object for all or a list with one "
    "for each."
)


@dataclass(frozen=True, kw_only=True)
class JudgeTemplate:
    """Which chat template a reward model reads, and with which variables."""

    template: str = "auto"
    kwargs: Mapping[str, object] | None = None  # None: those of its manifest


def judge_templates(
    sources: Sequence[str],
    templates: Sequence[str] | None,
    kwargs: str | None,
    *,
    default: str = "auto",
) -> dict[str, JudgeTemplate]:
    """The template of each reward model of `sources`; other sources read none.

    Args:
        sources: names without weights.
        templates: `reward_chat_template`.
        kwargs: `reward_chat_template_kwargs`, JSON.
        default: where no template is given.

    Raises:
        ConfigError: another number of templates or objects than of reward models, text that is
            not JSON, templates without a reward model.
    """
    models = [source for source in sources if kind_of(source) == "model"]
    if not models and (templates or kwargs):
        key = "reward_chat_template" if templates else "reward_chat_template_kwargs"
        raise ConfigError(
            f"{key} is for reward models, but there is none; leave it out.", code="key-conflict"
        )
    chosen = _one_each(list(templates or [default]), models, "reward_chat_template")
    variables = _one_each(_objects(kwargs), models, "reward_chat_template_kwargs")
    return {
        model: JudgeTemplate(template=template, kwargs=of_model)
        for model, template, of_model in zip(models, chosen, variables, strict=True)
    }


def _objects(text: str | None) -> list[Mapping[str, object] | None]:
    if text is None:
        return [None]
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"reward_chat_template_kwargs={text!r} is not JSON ({error}).", code="bad-value"
        ) from None
    objects = value if isinstance(value, list) else [value]
    for one in objects:
        if one is not None and not isinstance(one, dict):
            raise ConfigError(
                f"reward_chat_template_kwargs: {one!r} is not a JSON object.", code="bad-value"
            )
        check_template_kwargs(one or {})
    return objects


def _one_each(values: list[T], models: Sequence[str], key: str) -> list[T]:
    if len(values) == 1:
        return values * len(models)
    if len(values) != len(models):
        raise ConfigError(
            f"{key} has {len(values)} values for {len(models)} reward models; give one for all, or "
            "one for each in their order.",
            code="bad-value",
        )
    return values
