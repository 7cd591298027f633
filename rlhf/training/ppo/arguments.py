"""From the arguments of `PPOTrainer` to a checked run."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rlhf.data.config import PromptDataConfig
from rlhf.data.files.memory import Data
from rlhf.errors import ConfigError
from rlhf.models.config import BackboneConfig
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import RewardSpec
from rlhf.runtime.distributed import on_main_process, start_processes
from rlhf.runtime.run_folder import RunConfig, claim_run_folder
from rlhf.training.ppo.config import PPOConfig, PPOSettings
from rlhf.training.ppo.setup import PPOSetup, check_run

TEMPORARY = ""  # an output_dir that stands for a temporary folder
IN_MEMORY = "rows"  # what config.yaml and manifests call rows that come from no file


def check_arguments(
    run: RunConfig,
    model: str | Path | BackboneConfig,
    prompts: Data,
    rewards: Sequence[RewardSpec],
    *,
    config: PPOConfig,
    eval_prompts: Data | None,
    ptx_data: Data | None,
    data_config: PromptDataConfig | None,
    reward_config: RewardConfig | None,
) -> PPOSetup:
    """The checked run. The arguments are those of `PPOTrainer`; see there."""
    world_size = start_processes(sharding="own")
    if run.output_dir == TEMPORARY:
        run = replace(run, output_dir=_temporary_folder(world_size))
    on_main_process(lambda: claim_run_folder(run))
    data = data_config or PromptDataConfig(train_data=[IN_MEMORY], show_rows=0)
    settings = PPOSettings(
        run=run,
        model=_backbone(model),
        data=replace(
            data,
            train_data=[_name(prompts)],
            eval_data=None if eval_prompts is None else [_name(eval_prompts)],
        ),
        reward=replace(
            reward_config or RewardConfig(),
            reward=[spec.name for spec in rewards if not callable(spec.source)],
        ),
        ppo=config if ptx_data is None else replace(config, ptx_data=_name(ptx_data)),
    )
    return check_run(
        settings,
        rewards,
        world_size=world_size,
        prompts=prompts,
        eval_prompts=eval_prompts,
        ptx_data=ptx_data,
    )


def _backbone(model: str | Path | BackboneConfig) -> BackboneConfig:
    if isinstance(model, BackboneConfig):
        return model
    return BackboneConfig(model_name_or_path=str(model))


def _name(data: Data) -> str:
    return str(data) if isinstance(data, str | Path) else IN_MEMORY


def _temporary_folder(world_size: int) -> str:
    if world_size > 1:
        raise ConfigError(
            f"{world_size} processes need one run folder; give output_dir.", code="missing-key"
        )
    folder = tempfile.mkdtemp(prefix="rlhf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
