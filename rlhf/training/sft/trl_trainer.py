"""TRL's SFTTrainer with the text's loss alone on held-out rows, and a view of its losses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trl
from torch import Tensor

ROUTER_KEYS = ("output_router_logits", "router_aux_loss_coef")


class SFTTrainer(trl.SFTTrainer):
    """As TRL's, but for mixture-of-experts models.

    TRL trains these with the loss that balances their experts. It is no part of how well held-out
    text is predicted, and so no part of the held-out loss.
    """

    see: Callable[[Tensor], None] | None = None  # is handed the loss of each forward in training

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """TRL's."""
        compute: Any = super().compute_loss
        result = compute(model, inputs, return_outputs, num_items_in_batch)
        if self.see is not None and model.training:
            self.see((result[0] if return_outputs else result).detach())
        return result

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss of the held-out text alone."""
        balances, self.aux_loss_enabled = self.aux_loss_enabled, False
        try:
            result: dict[str, float] = super().evaluate(
                eval_dataset, ignore_keys, metric_key_prefix
            )
        finally:
            self.aux_loss_enabled = balances
        return result


@contextmanager
def router_settings_kept(config: Any) -> Iterator[None]:
    """Leave the router's settings in a model's configuration as they were.

    TRL's trainer asks for router logits in each forward of its own, and turns them on in the
    configuration too: where they stay on, every later forward computes the balancing loss, which
    fails on a cache, and the saved model asks for it everywhere.
    """
    text = config.get_text_config()
    before = {key: getattr(text, key) for key in ROUTER_KEYS if hasattr(text, key)}
    try:
        yield
    finally:
        for key, value in before.items():
            setattr(text, key, value)
