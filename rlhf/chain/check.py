"""What can be found out before the first stage runs: every data file is read once."""

from collections.abc import Mapping
from typing import Any

from rlhf.chain.config import SAMPLED, AlignConfig, key_values
from rlhf.chain.fingerprint import settings_of
from rlhf.data.bad_rows import BadRows
from rlhf.data.config import DataConfig
from rlhf.data.rows import load_demonstrations, load_prompts, load_rankings
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.config import EvaluateConfig
from rlhf.launch import quiet_logs
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.run_folder import RunConfig
from rlhf.training.ppo_config import PPOConfig


def check_inputs(run_config: RunConfig, config: AlignConfig) -> None:
    """Refuse what cannot be run, so that a bad row of the last stage is not found after the first.

    Raises:
        ConfigError: a key that means nothing here, or a stage's file that cannot be read.
        CheckpointError: a model to start from that is none, or smaller than its tokenizer.
        DataError: a file that is not there, or rows that cannot be used, of all files in one list.
    """
    if run_config.resume_from_checkpoint not in (None, "latest"):
        raise ConfigError("resume_from_checkpoint: align.py always goes on; leave it out.")
    quiet_logs()
    chat = tokenizer_of_model(config.model_name_or_path, config.chat_template)
    with BadRows() as bad_rows:
        _check_sft_and_labels(config, chat, bad_rows)
        _check_prompts(config, chat, bad_rows)


def stage_settings(config: AlignConfig, recipe: str) -> dict[str, Any]:
    """The keys that the chain's user gives the recipe, in its YAML file and over it."""
    name = f"{recipe}_keys"
    return settings_of(getattr(config, f"{recipe}_config"), key_values(name, getattr(config, name)))


def drops(config: AlignConfig, recipe: str) -> bool:
    """Whether that recipe is told to leave bad rows out."""
    return bool(stage_settings(config, recipe).get("drop_bad_rows"))


def _check_sft_and_labels(config: AlignConfig, chat: ChatTokenizer, refused: BadRows) -> None:
    for recipe in ("sft", "reward_model"):  # the second reads demonstrations to normalise rewards
        settings = stage_settings(config, recipe)
        max_length = settings.get("max_length", DataConfig.max_length)
        bad_rows = _bad_rows(settings, refused)
        load_demonstrations(
            config.demonstrations, chat=chat, max_length=max_length, bad_rows=bad_rows
        )
        if recipe == "reward_model" and config.labels not in SAMPLED:
            load_rankings(
                config.labels, chat=chat, max_length=max_length, bad_rows=bad_rows, keep_tied=True
            )


def _check_prompts(config: AlignConfig, chat: ChatTokenizer, refused: BadRows) -> None:
    if config.labels in SAMPLED and config.ranking_prompts is not None:
        answer = config.sample_max_new_tokens
        load_prompts(config.ranking_prompts, chat=chat, answer_length=answer, bad_rows=refused)
    for recipe, source, default in (
        ("ppo", config.ppo_prompts, PPOConfig),
        ("evaluate", config.heldout_prompts, EvaluateConfig),
    ):
        settings = stage_settings(config, recipe)
        load_prompts(
            source,
            chat=chat,
            max_length=settings.get("max_prompt_length", default.max_prompt_length),
            answer_length=settings.get("max_completion_length", default.max_completion_length),
            bad_rows=_bad_rows(settings, refused),
        )


def _bad_rows(settings: Mapping[str, Any], refused: BadRows) -> BadRows:
    """Those of a recipe that leaves them out are no reason to refuse."""
    return BadRows(drop=True) if settings.get("drop_bad_rows") else refused
