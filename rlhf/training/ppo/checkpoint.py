"""What a PPO run writes while it trains: checkpoint-N, and best/."""

import json
from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.manifest import write_manifest
from rlhf.models.save import save_policy
from rlhf.training.common.checkpoint import random_state, replace_folder, save_checkpoint
from rlhf.training.ppo.ahead import AheadState
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.state import Progress, identity_of, state_of
from rlhf.training.ppo.update import PPOUpdater

BEST, BEST_METRICS = "best", "best.json"


class CheckpointWriter:
    """Writes the policy with its tokenizer and manifest. Call it on all processes."""

    def __init__(self, setup: PPOSetup, accelerator: Accelerator, models: PPOModels) -> None:
        self.setup, self.accelerator, self.models = setup, accelerator, models

    def checkpoint(self, progress: Progress, updater: PPOUpdater, ahead: AheadState | None) -> None:
        """checkpoint-N: a policy that loads by itself, and the rest of the run's state.

        ahead: responses of this process that are sampled already.
        """
        state = state_of(
            progress,
            self.models,
            updater,
            identity=identity_of(self.setup),
            random_states=gather_object([random_state()]),
            ahead=gather_object([ahead]),
        )
        weights = self.models.policy_weights()

        def write(folder: Path) -> None:
            self._write_policy(folder, weights)
            state.write(folder)

        if self.accelerator.is_main_process:
            limit = self.setup.config.save_total_limit
            save_checkpoint(self.setup.folder, progress.step, write, save_total_limit=limit)
        self.accelerator.wait_for_everyone()

    def best(self, metrics: Mapping[str, float]) -> None:
        """best/: the policy, and the metrics for which it was chosen."""
        weights = self.models.policy_weights()

        def write(folder: Path) -> None:
            self._write_policy(folder, weights)
            (folder / BEST_METRICS).write_text(json.dumps(metrics), encoding="utf-8")

        if self.accelerator.is_main_process:
            replace_folder(self.setup.folder / BEST, write)
        self.accelerator.wait_for_everyone()

    def _write_policy(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        save_policy(folder, self.models.policy, self.setup.chat, weights)
        write_manifest(folder, self.setup.manifest(folder))
