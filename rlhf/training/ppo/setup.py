"""What is settled before a weight is loaded: keys, tokenizers, rewards and rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.data.files.memory import Data
from rlhf.data.tokenization.chat import prompt_text
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse, Manifest
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.context_length import beyond_training
from rlhf.models.four_bit import check_four_bit
from rlhf.models.revision import at_revision
from rlhf.models.shard import sharding_requested
from rlhf.rewards.spec import RewardSpec
from rlhf.rollouts.environment import EnvironmentSpec, parse_environment
from rlhf.rollouts.server import check_tokens, connected
from rlhf.training.common.optimizer import check_optim
from rlhf.training.common.provenance import stage_manifest
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.environment import check_environment
from rlhf.training.ppo.reward_check import check_no_reward, check_reward_sources, models_of_reward
from rlhf.training.ppo.rows import RowsInMemory, load_rows
from rlhf.training.ppo.settings import PPOSettings
from rlhf.training.ppo.validation import check_device, check_sharding
from rlhf.types import PromptRow

FRESH = "fresh"  # value_model_path: the policy's trunk with a new head


@dataclass(frozen=True, kw_only=True)
class PPOSetup:
    """A checked run: what to train on, with which keys, built on which models."""

    settings: PPOSettings
    world_size: int
    chat: ChatTokenizer
    rewards: Sequence[RewardSpec]
    built_on: Sequence[str]  # models; the base first
    prompts: Sequence[PromptRow]
    held_out: Sequence[PromptRow]  # sampled before and after; training prompts without eval_data
    texts: Sequence[str]  # of ptx_data
    uses: Sequence[DataUse]  # for the manifest
    environment: EnvironmentSpec | None = None  # that answers the model's turns

    @property
    def config(self) -> PPOConfig:
        """The keys of PPO."""
        return self.settings.ppo

    @property
    def base(self) -> str:
        """The model that the policy starts from, which is the reference."""
        return self.settings.model.model_name_or_path

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings.run.seed

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.settings.run.output_dir)

    @property
    def evaluates(self) -> bool:
        """Whether held-out metrics are logged, which needs eval_data."""
        return self.settings.data.eval_data is not None

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        return [
            *self.chat.notes,
            *beyond_training(
                self.base,
                self.config.max_length,
                (self.config.max_prompt_length, self.config.max_completion_length),
            ),
            *self._environment_notes,
            f"{len(self.prompts)} prompts to train on, {len(self.held_out)} for samples",
        ]

    @property
    def _environment_notes(self) -> list[str]:
        if self.environment is None:
            return []
        tools = f", with {len(self.environment.tools)} tools" if self.environment.tools else ""
        return [
            f"Responses are episodes of {self.environment.name}{tools}: at most "
            f"{self.config.max_turns} turns of the model."
        ]

    def manifest(self, folder: Path, stage: str = "ppo") -> Manifest:
        """The manifest of a model of this run in `folder`."""
        return stage_manifest(
            folder,
            stage=stage,
            base_model=self.base,
            chat=self.chat,
            seed=self.seed,
            world_size=self.world_size,
            data=self.uses,
            configs=self.settings.parts,
            built_on=self.built_on,
        )


def check_run(
    settings: PPOSettings,
    rewards: Sequence[RewardSpec],
    *,
    world_size: int,
    prompts: Data | None = None,
    eval_prompts: Data | None = None,
    ptx_data: Data | None = None,
    environment: EnvironmentSpec | None = None,
) -> PPOSetup:
    """Check the models' formats, the reward and every row. No weight is loaded.

    Args:
        settings: all keys.
        rewards: the reward's sources.
        world_size: number of processes.
        prompts: rows, where they do not come from train_data.
        eval_prompts: rows, where they do not come from eval_data.
        ptx_data: texts, where they do not come from the key of that name.
        environment: a class, where it does not come from the key of that name.

    Raises:
        ConfigError: a source of the reward that does not load or answer, a rollout server that
            does not answer, keys that this machine or launch configuration does not support.
        CheckpointError: models that do not fit together: altered files, other templates or stop
            ids, a tokenizer larger than its model, a rollout server with another tokenizer.
        DataError: rows that cannot be used.
    """
    settings = replace(settings, model=at_revision(settings.model))
    if environment is None and settings.ppo.environment is not None:
        environment = parse_environment(settings.ppo.environment)
    if not rewards:
        check_no_reward(settings.reward)
    chat, built_on = check_models(settings, rewards)
    given = RowsInMemory(prompts=prompts, eval_prompts=eval_prompts, ptx_data=ptx_data)
    rows = load_rows(settings, chat, given)
    if environment is not None:
        check_environment(
            environment,
            chat,
            [*rows.train, *rows.held_out],
            max_prompt_length=settings.ppo.max_prompt_length,
        )
    check_reward_sources(rewards, settings.reward, chat, rows)
    _check_rollout_server(settings.ppo, chat, rows.train[0])
    return PPOSetup(
        settings=settings,
        world_size=world_size,
        chat=chat,
        rewards=rewards,
        built_on=built_on,
        prompts=rows.train,
        held_out=(rows.held_out or rows.train)[: settings.ppo.num_eval_prompts],
        texts=rows.texts,
        uses=rows.uses,
        environment=environment,
    )


def _check_rollout_server(config: PPOConfig, chat: ChatTokenizer, row: PromptRow) -> None:
    """Check a server that runs already. It may take minutes until the models are loaded."""
    if config.rollout_server is not None:
        text = prompt_text(chat, row.prompt, row.tools)
        ids = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        check_tokens(connected(config.rollout_server), [text], [ids])


def check_models(
    settings: PPOSettings, rewards: Sequence[RewardSpec]
) -> tuple[ChatTokenizer, list[str]]:
    """The policy's tokenizer, and the models that the run builds on, checked for their formats."""
    config, base = settings.ppo, settings.model.model_name_or_path
    check_device(config)
    check_sharding(config, sharded=sharding_requested())
    check_optim(config.optim)
    check_four_bit(settings.model.load_in_4bit)
    chat, _ = load_checked_tokenizer(
        base, settings.data.chat_template, template_kwargs=settings.data.template_kwargs
    )
    built_on = [base, *models_of_reward(base, chat, rewards, settings.reward)]
    value_model = config.value_model_path
    if value_model is not None and value_model not in (FRESH, *built_on):
        load_checked_tokenizer(value_model, "none" if chat.raw else "auto", judges=True)
        built_on.append(value_model)
    return chat, built_on
