"""The plan of a KTO run: memory, seconds and what fits, before a weight is loaded."""

import math

from rlhf.data.config import DataConfig
from rlhf.models.config import ModelConfig
from rlhf.planning.case import Assumed, Target
from rlhf.planning.plan import Plan, training_plan
from rlhf.planning.preference import preference_case
from rlhf.training.common.optimizer import moment_bytes
from rlhf.training.kto.config import KTOConfig


def plan(
    model: ModelConfig,
    data: DataConfig,
    config: KTOConfig,
    target: Target,
    *,
    rows: int | None = None,
    assumed: Assumed | None = None,
) -> Plan:
    """The plan of a run with these keys on these devices.

    Its seconds leave out the forward pass that estimates the reference point.

    rows: to train on; None where their number is unknown.
    """
    case = preference_case(
        model,
        target,
        assumed or Assumed(),
        max_length=data.max_length,
        rows=config.per_device_train_batch_size,
        responses=1,
        accumulation=config.gradient_accumulation_steps,
        moment_bytes=moment_bytes(config.optim),
        samples=config.num_samples,
        sample_tokens=config.sample_max_new_tokens,
    )
    steps = config.max_steps
    if steps is None and rows is not None:
        batch = case.num_gpus * case.accumulation * case.rows
        steps = max(1, math.ceil(config.num_train_epochs * rows / batch))
    return training_plan(case, sharded=target.sharded, steps=steps)
