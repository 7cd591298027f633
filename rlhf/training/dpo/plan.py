"""The plan of a DPO run: memory, seconds and what fits, before a weight is loaded."""

import math
from collections import defaultdict

from rlhf.data.config import DataConfig
from rlhf.data.rows.split import prompt_key
from rlhf.models.config import ModelConfig
from rlhf.planning.case import Assumed, Target
from rlhf.planning.plan import Plan, training_plan
from rlhf.planning.preference import preference_case
from rlhf.training.common.optimizer import moment_bytes
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.setup import DPOSetup


def plan(
    model: ModelConfig,
    data: DataConfig,
    config: DPOConfig,
    target: Target,
    *,
    prompts: int | None = None,
    responses: int = 2,
    assumed: Assumed | None = None,
) -> Plan:
    """The plan of a run with these keys on these devices.

    Args:
        model: the policy to start from.
        data: length of rows.
        config: keys of the training.
        target: the devices.
        prompts: to train on; None where their number is unknown.
        responses: of the prompt with the most.
        assumed: what the keys do not say.
    """
    case = preference_case(
        model,
        target,
        assumed or Assumed(),
        max_length=data.max_length,
        rows=config.per_device_train_batch_size,
        responses=responses,
        accumulation=config.gradient_accumulation_steps,
        moment_bytes=moment_bytes(config.optim),
        samples=config.num_samples,
        sample_tokens=config.sample_max_new_tokens,
    )
    steps = config.max_steps
    if steps is None and prompts is not None:
        batch = case.num_gpus * case.accumulation * case.rows
        steps = max(1, math.ceil(config.num_train_epochs * prompts / batch))
    return training_plan(case, sharded=target.sharded, steps=steps)


def plan_of_setup(setup: DPOSetup, target: Target) -> Plan:
    """The plan of a checked run, whose prompts are known."""
    responses: dict[str, set[str]] = defaultdict(set)
    for row in setup.rows.train:
        responses[prompt_key(row.prompt)].update(row.responses)
    return plan(
        setup.model,
        setup.data,
        setup.config,
        target,
        prompts=len(responses),
        responses=max(map(len, responses.values())),
    )
