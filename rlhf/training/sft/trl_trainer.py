"""TRL's SFTTrainer, with a held-out loss of the text alone, a hook on losses, and FSDP2."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import trl
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PretrainedConfig
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from rlhf.models.shard import full, gathered, put_optimizer_state, shard, whole_weights
from rlhf.runtime.distributed import SHARDING, print_once

PRECISION = "ACCELERATE_MIXED_PRECISION"
ROUTER_KEYS = ("output_router_logits", "router_aux_loss_coef")


class TRLTrainer(trl.SFTTrainer):
    """TRL's trainer, whose held-out loss leaves out the loss that balances experts.

    TRL trains mixture-of-experts models with that loss too. It does not measure how well held-out
    text is predicted.
    """

    on_loss: Callable[[Tensor], None] | None = None  # called with the loss of each training forward
    sharded = False  # whether `create_optimizer` shards the weights (FSDP2)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """TRL's loss; `on_loss` gets it in training."""
        compute: Any = super().compute_loss
        result = compute(model, inputs, return_outputs, num_items_in_batch)
        if self.on_loss is not None and model.training:
            self.on_loss((result[0] if return_outputs else result).detach())
        return result

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss of the held-out text alone."""
        enabled, self.aux_loss_enabled = self.aux_loss_enabled, False
        try:
            result: dict[str, float] = super().evaluate(
                eval_dataset, ignore_keys, metric_key_prefix
            )
        finally:
            self.aux_loss_enabled = enabled
        return result

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimizer; with `sharded` the weights are sharded first.

        A checkpoint's weights were loaded before. accelerate would wrap the model in DDP.
        """
        if self.sharded and self.optimizer is None:
            model_to_shard: Any = self.model
            shard(model_to_shard, model_to_shard._no_split_modules or [], self.args.device)
            self.accelerator.prepare_model = partial(_with_precision, self.accelerator)
            print_once(f"FSDP2: the model in {self.args.world_size} shards.")
        optimizer: Optimizer = super().create_optimizer(model)
        return optimizer

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        clip: Any = super()._clip_grad_norm
        return full(clip(model))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights, whole; on all processes."""
        model: Any = self.model
        super()._save(output_dir, whole_weights(model) if self.sharded else state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Both states, whole; on all processes."""
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = gathered(self.optimizer.state_dict())
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        states = [
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        ]
        put_optimizer_state(self.optimizer, states[0])
        self.lr_scheduler.load_state_dict(states[1])


def _with_precision(
    accelerator: Accelerator,
    model: nn.Module,
    device_placement: bool | None = None,
    evaluation_mode: bool = False,
) -> nn.Module:
    """accelerate's `prepare_model` for a sharded model: autocast, and no other wrapper."""
    prepared: nn.Module = type(accelerator).prepare_model(
        accelerator, model, device_placement=False, evaluation_mode=True
    )
    return prepared


@contextmanager
def restored_router_settings(config: PretrainedConfig) -> Iterator[None]:
    """Restore the router's settings in a model's configuration at the end.

    TRL's trainer requests router logits in its own forward passes, and turns them on in the
    configuration too. If they stayed on, every later forward pass would compute the balancing loss,
    which fails with a cache, and the saved model would do so everywhere.
    """
    text = config.get_text_config()
    before = {key: getattr(text, key) for key in ROUTER_KEYS if hasattr(text, key)}
    try:
        yield
    finally:
        for key, value in before.items():
            setattr(text, key, value)


@contextmanager
def own_accelerate_state() -> Iterator[None]:
    """Let a trainer choose its precision and shard its model, and restore the state at the end.

    transformers' trainer writes its precision into the environment and into accelerate's global
    state. A second trainer in the process would take it over, or fail on another one. accelerate
    would shard the model once more if it found FSDP in the environment.
    """
    before = {name: os.environ.get(name) for name in (PRECISION, SHARDING["FSDP"])}
    os.environ.pop(SHARDING["FSDP"], None)
    AcceleratorState._reset_state()  # the processes, which PartialState holds, stay
    try:
        yield
    finally:
        AcceleratorState._reset_state()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
