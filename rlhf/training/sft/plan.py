"""The plan of an SFT run: memory, seconds and what fits, before a weight is loaded."""

import math
from dataclasses import replace

from rlhf.data.config import DataConfig
from rlhf.models.config import ModelConfig
from rlhf.models.memory import adapter_parameters, shape_of
from rlhf.planning.case import Assumed, Target, TrainingCase, achieved_on
from rlhf.planning.plan import Plan, training_plan
from rlhf.training.common.optimizer import moment_bytes
from rlhf.training.sft.config import SFTConfig


def plan(
    model: ModelConfig,
    data: DataConfig,
    config: SFTConfig,
    target: Target,
    *,
    rows: int | None = None,
    assumed: Assumed | None = None,
) -> Plan:
    """The plan of a run with these keys on these devices.

    rows: to train on; None where their number is unknown.
    """
    case = case_of(model, data, config, target, assumed or Assumed())
    steps = config.max_steps
    if steps is None and rows is not None:
        tokens = config.num_train_epochs * rows * case.mean_length
        length = case.max_length if case.packed else case.mean_length
        batch = case.num_gpus * case.accumulation * case.rows * length
        steps = max(1, math.ceil(tokens / batch))
    return training_plan(case, sharded=target.sharded, steps=steps)


def case_of(
    model: ModelConfig, data: DataConfig, config: SFTConfig, target: Target, assumed: Assumed
) -> TrainingCase:
    """What is planned: the sizes of the model, and its batches."""
    base = assumed.path(model.model_name_or_path)
    bf16 = target.bf16_is_fast if model.bf16 is None else model.bf16
    sized = replace(model, model_name_or_path=base)
    return TrainingCase(
        task="sft",
        model=shape_of(base),
        num_gpus=target.num_devices,
        machine=target.machine,
        rows=config.per_device_train_batch_size,
        mean_length=assumed.row_tokens(data.max_length),
        max_length=data.max_length,
        accumulation=config.gradient_accumulation_steps,
        packed=config.packing,
        samples=config.num_samples,
        sample_tokens=config.sample_max_new_tokens,
        adapter=adapter_parameters(sized, "CAUSAL_LM") if model.use_peft else 0,
        four_bit=model.load_in_4bit,
        bf16=bf16,
        moment_bytes=moment_bytes(config.optim),
        achieved=achieved_on(target.machine, bf16=bf16),
        checkpointing=model.gradient_checkpointing,
    )
