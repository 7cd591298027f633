"""From the arguments of `PPOTrainer` to a checked run."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rlhf.data.config import DataOptions, PromptDataConfig, PromptOptions
from rlhf.data.files.memory import Data, source_name
from rlhf.errors import ConfigError
from rlhf.models.config import BackboneConfig, ModelConfig
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import RewardLike, parse_rewards
from rlhf.rollouts.environment import EnvironmentSpec, parse_environment
from rlhf.runtime.run_folder import RunConfig, begin_run
from rlhf.training.common.arguments import check_type, in_memory, model_config
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.settings import PPOSettings
from rlhf.training.ppo.setup import PPOSetup, check_run


def check_arguments(
    run: RunConfig,
    model: str | Path | BackboneConfig,
    prompts: Data,
    reward: RewardLike | Sequence[RewardLike] | None,
    *,
    config: PPOConfig,
    environment: str | type | None,
    eval_prompts: Data | None,
    ptx_data: Data | None,
    data_config: PromptOptions | None,
    reward_config: RewardConfig | None,
) -> PPOSetup:
    """The checked run. The arguments are those of `PPOTrainer`; see there."""
    check_type("config", config, PPOConfig)
    config, spec = _with_environment(config, environment)
    rewards = parse_rewards([] if reward is None else reward, optional=spec is not None)
    if reward_config is not None:
        check_type("reward_config", reward_config, RewardConfig)
    if prompts is None:
        raise ConfigError("prompts is None; give rows, a file or a hub id.", code="missing-key")
    if isinstance(model, ModelConfig) and model.use_peft:
        raise ConfigError(
            "use_peft: PPO trains LoRA adapters with PPOConfig(mode='lora'); leave it out.",
            code="key-conflict",
        )
    backbone, data = model_config(model, BackboneConfig), _data(data_config, prompts, eval_prompts)
    world_size = begin_run(run, sharding="fsdp")
    settings = PPOSettings(
        run=run,
        model=backbone,
        data=data,
        reward=replace(
            reward_config or RewardConfig(),
            reward=[spec.text for spec in rewards if spec.text is not None],
        ),
        ppo=config if ptx_data is None else replace(config, ptx_data=source_name(ptx_data)),
    )
    return check_run(
        settings,
        rewards,
        world_size=world_size,
        prompts=in_memory(prompts),
        eval_prompts=in_memory(eval_prompts),
        ptx_data=ptx_data,
        environment=spec,
    )


def _with_environment(
    config: PPOConfig, environment: str | type | None
) -> tuple[PPOConfig, EnvironmentSpec | None]:
    """The keys with the environment's name, and the environment."""
    if environment is None and config.environment is None:
        return config, None
    if environment is not None and config.environment is not None:
        raise ConfigError(
            f"environment is an argument and config.environment={config.environment}; give one.",
            code="key-conflict",
        )
    spec = parse_environment(environment or config.environment)
    return replace(config, environment=spec.name), spec


def _data(
    options: PromptOptions | None, prompts: Data, eval_prompts: Data | None
) -> PromptDataConfig:
    """The options with the names of the rows' sources; rows in memory are named `rows`."""
    if options is not None:
        check_type("data_config", options, PromptOptions)
    if isinstance(options, DataOptions):
        raise ConfigError(
            f"data_config is a {type(options).__name__}, but PPO has no eval_fraction and no "
            "max_length; use rlhf.PromptOptions(...), and max_prompt_length of rlhf.PPOConfig.",
            code="bad-value",
        )
    if isinstance(options, PromptDataConfig):
        raise ConfigError(
            "data_config is a PromptDataConfig, whose sources PPOTrainer does not read; give "
            "prompts and eval_prompts as arguments, and the options as rlhf.PromptOptions(...).",
            code="bad-value",
        )
    # Without options no row is printed: a library call has no user at a terminal.
    keys = asdict(options or PromptOptions(show_rows=0))
    keys["train_data"] = [source_name(prompts)]
    keys["eval_data"] = None if eval_prompts is None else [source_name(eval_prompts)]
    return PromptDataConfig(**keys)
