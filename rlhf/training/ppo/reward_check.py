"""Checks of the reward before a weight is loaded: keys, formats of models, sources and columns."""

from collections.abc import Sequence

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.models.compatibility import check_same_format, load_checked_tokenizer
from rlhf.rewards.config import OF_CALLS, RewardConfig
from rlhf.rewards.rendered import reward_texts
from rlhf.rewards.scorers import check_options, check_source
from rlhf.rewards.spec import RewardSpec
from rlhf.rewards.templates import JudgeTemplate
from rlhf.runtime.field_types import changed_fields
from rlhf.training.ppo.rows import PPORows

# Keys of the reward that only its sources read.
OF_SOURCES = (
    *("normalize_reward", "reward_aggregation", "reward_uncertainty_coef"),
    *("reward_chat_template", "reward_chat_template_kwargs"),
)


def check_no_reward(config: RewardConfig) -> None:
    """Check that no key of the reward is set where the environment alone rewards.

    Raises:
        ConfigError: the key.
    """
    for name in changed_fields(config, OF_SOURCES):
        raise ConfigError(
            f"{name} is about sources of the reward, and the environment alone rewards; leave it "
            "out, or give a reward too.",
            code="key-conflict",
        )


def models_of_reward(
    base: str, chat: ChatTokenizer, rewards: Sequence[RewardSpec], config: RewardConfig
) -> list[str]:
    """The models that score, checked for their formats; functions of files are loaded.

    Args:
        base: the policy.
        chat: its tokenizer.
        rewards: the reward's sources.
        config: chat templates of reward models.

    Raises:
        ConfigError: a function that does not load.
        CheckpointError: a reward model that does not read what the policy writes.
    """
    templates = config.templates(rewards, raw=chat.raw)
    models = []
    for spec in rewards:
        if spec.path is not None:
            _check_reward_model(base, chat, spec.path, templates[spec.name])
            models.append(spec.path)
            continue
        if spec.is_function:
            spec.function()
        if (language_model := spec.language_model) is not None:
            models.append(language_model)
    return models


def _check_reward_model(base: str, chat: ChatTokenizer, path: str, template: JudgeTemplate) -> None:
    reward_chat, _ = load_checked_tokenizer(
        path, template.template, template_kwargs=template.kwargs, judges=True
    )
    check_same_format(base, chat, path, reward_chat)


def check_reward_sources(
    rewards: Sequence[RewardSpec], config: RewardConfig, chat: ChatTokenizer, rows: PPORows
) -> None:
    """Check keys of calls, columns of rows, and that servers and judges answer.

    Raises:
        ConfigError: a source that cannot be used, or a key that none of them reads.
        CheckpointError: no such local judge.
    """
    calls = config.calls
    check_options(rewards, calls, changed_fields(config, OF_CALLS))
    for spec in rewards:
        if not spec.is_model:
            for split in rows.splits:
                check_source(spec, calls, reward_texts(chat), split)
