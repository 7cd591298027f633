"""The run folder of PPO, opened once no check is left that could fail before training."""

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.data.show import introduce
from rlhf.models.lineage import MERGED_BASE
from rlhf.models.save import rehearse_saving
from rlhf.runtime.distributed import on_main_process
from rlhf.runtime.run_folder import open_run_folder
from rlhf.training.common.adapter_base import keep_own_base
from rlhf.training.ppo.setup import PPOSetup


def open_folder(setup: PPOSetup, policy: PreTrainedModel | PeftModel) -> None:
    """Create the folder, or delete an earlier run in it; print the first rows.

    Call it on all processes.

    Raises:
        ConfigError: the folder holds a run.
        CheckpointError: a resumed run's merged base was made of other weights.
    """
    on_main_process(lambda: rehearse_saving(policy, setup.chat))

    def open_and_introduce() -> None:
        folder = open_run_folder(*setup.settings.parts)
        introduce(folder, setup.chat, setup.prompts, count=setup.settings.data.show_rows)

    on_main_process(open_and_introduce)
    keep_own_base(
        policy,
        setup.base,
        setup.folder,
        setup.chat,
        dtype=torch.float32,
        manifest_of=lambda folder: setup.manifest(folder, MERGED_BASE),
    )
