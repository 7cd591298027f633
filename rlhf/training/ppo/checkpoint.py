"""What a PPO run leaves on the disk on its way: checkpoint-N, and best/."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.save import save_policy
from rlhf.training.common.checkpoint import random_state, replace_folder, save_checkpoint
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.state import Progress, state_of
from rlhf.training.ppo.update import PPOUpdater

BEST, BEST_FIGURES = "best", "best.json"


class CheckpointWriter:
    """Writes the policy as it is, with its tokenizer and manifest. Call it on all processes."""

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        models: PPOModels,
        chat: ChatTokenizer,
        *,
        write_manifest: Callable[[Path], None],
    ) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.models, self.chat = models, chat
        self.write_manifest = write_manifest

    def checkpoint(
        self,
        progress: Progress,
        updater: PPOUpdater,
        *,
        identity: Mapping[str, Any],
        save_total_limit: int,
    ) -> None:
        """checkpoint-N: a policy that loads as it is, and all the rest of the run's state."""
        state = state_of(
            progress,
            self.models,
            updater,
            identity=identity,
            random_states=gather_object([random_state()]),
        )
        weights = self.models.policy_weights()

        def write(folder: Path) -> None:
            self._write_policy(folder, weights)
            state.write(folder)

        if self.accelerator.is_main_process:
            save_checkpoint(self.folder, progress.step, write, save_total_limit=save_total_limit)
        self.accelerator.wait_for_everyone()

    def best(self, figures: Mapping[str, float]) -> None:
        """best/: the policy alone, and the figures for which it was kept."""
        weights = self.models.policy_weights()

        def write(folder: Path) -> None:
            self._write_policy(folder, weights)
            (folder / BEST_FIGURES).write_text(json.dumps(figures), encoding="utf-8")

        if self.accelerator.is_main_process:
            replace_folder(self.folder / BEST, write)
        self.accelerator.wait_for_everyone()

    def _write_policy(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        save_policy(folder, self.models.policy, self.chat, weights)
        self.write_manifest(folder)
