"""TRL's SFTTrainer, with a held-out loss of the text alone and a hook on training losses."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trl
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import PretrainedConfig

PRECISION = "ACCELERATE_MIXED_PRECISION"
ROUTER_KEYS = ("output_router_logits", "router_aux_loss_coef")


class TRLTrainer(trl.SFTTrainer):
    """TRL's trainer, whose held-out loss leaves out the loss that balances experts.

    TRL trains mixture-of-experts models with that loss too. It does not measure how well held-out
    text is predicted.
    """

    on_loss: Callable[[Tensor], None] | None = None  # called with the loss of each training forward

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
def own_precision() -> Iterator[None]:
    """Let a trainer choose its precision, and leave the choice to the next one.

    transformers' trainer writes its precision into the environment and into accelerate's global
    state. A second trainer in the process would take it over, or fail on another one.
    """
    before = os.environ.get(PRECISION)
    AcceleratorState._reset_state()  # the processes, which PartialState holds, stay
    try:
        yield
    finally:
        AcceleratorState._reset_state()
        os.environ.pop(PRECISION, None)
        if before is not None:
            os.environ[PRECISION] = before
