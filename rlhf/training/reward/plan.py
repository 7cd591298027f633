"""The plan of a reward-model run: memory, seconds and what fits, before a weight is loaded."""

import math
from collections import defaultdict
from dataclasses import replace

from rlhf.data.config import DataConfig
from rlhf.data.rows.split import prompt_key
from rlhf.models.config import ModelConfig
from rlhf.models.memory import adapter_parameters, shape_of
from rlhf.planning.case import Assumed, Target, TrainingCase, achieved_on
from rlhf.planning.plan import Plan, training_plan
from rlhf.training.common.optimizer import moment_bytes
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.setup import RewardSetup


def plan(
    model: ModelConfig,
    data: DataConfig,
    config: RewardModelConfig,
    target: Target,
    *,
    prompts: int | None = None,
    responses: int = 2,
    assumed: Assumed | None = None,
) -> Plan:
    """The plan of a run with these keys on these devices.

    Args:
        model: the model to start from.
        data: length of rows.
        config: keys of the training.
        target: the devices.
        prompts: to train on; None where their number is unknown.
        responses: of the prompt with the most.
        assumed: what the keys do not say.
    """
    case = case_of(model, data, config, target, assumed or Assumed(), responses=responses)
    steps = config.max_steps
    if steps is None and prompts is not None:
        batch = case.num_gpus * case.accumulation * case.rows
        steps = max(1, math.ceil(config.num_train_epochs * prompts / batch))
    return training_plan(case, sharded=target.sharded, steps=steps)


def plan_of_setup(setup: RewardSetup, target: Target) -> Plan:
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


def case_of(
    model: ModelConfig,
    data: DataConfig,
    config: RewardModelConfig,
    target: Target,
    assumed: Assumed,
    *,
    responses: int,
) -> TrainingCase:
    """What is planned: the sizes of the model, and its batches."""
    base = assumed.path(model.model_name_or_path)
    bf16 = target.bf16_is_fast if model.bf16 is None else model.bf16
    sized = replace(model, model_name_or_path=base)
    return TrainingCase(
        task="reward_model",
        model=shape_of(base),
        num_gpus=target.num_devices,
        machine=target.machine,
        rows=config.per_device_train_batch_size,
        responses=responses,
        shared=0.0 if target.machine.on_gpu else assumed.prompt_tokens or 0.0,
        mean_length=assumed.row_tokens(data.max_length),
        max_length=data.max_length,
        accumulation=config.gradient_accumulation_steps,
        adapter=adapter_parameters(sized, "SEQ_CLS") if model.use_peft else 0,
        four_bit=model.load_in_4bit,
        bf16=bf16,
        moment_bytes=moment_bytes(config.optim),
        achieved=achieved_on(target.machine, bf16=bf16),
        checkpointing=model.gradient_checkpointing,
    )
