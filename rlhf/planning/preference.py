"""What is planned of a policy that is trained on labels: DPO and KTO."""

from dataclasses import replace

from rlhf.models.config import ModelConfig
from rlhf.models.memory import adapter_parameters, shape_of
from rlhf.planning.case import Assumed, Target, TrainingCase, achieved_on


def preference_case(
    model: ModelConfig,
    target: Target,
    assumed: Assumed,
    *,
    max_length: int,
    rows: int,
    responses: int,
    accumulation: int,
    moment_bytes: int,
    samples: int,
    sample_tokens: int,
) -> TrainingCase:
    """The sizes of the model, and its batches.

    Args:
        model: the policy to start from.
        target: the devices.
        assumed: what the keys do not say.
        max_length: tokens of the longest prompt with its response.
        rows: prompts of a batch on a device.
        responses: of the prompt with the most.
        accumulation: batches of an optimizer step.
        moment_bytes: of AdamW, per trained parameter.
        samples: responses that are sampled before and after training.
        sample_tokens: of the longest of them.
    """
    base = assumed.path(model.model_name_or_path)
    bf16 = target.bf16_is_fast if model.bf16 is None else model.bf16
    sized = replace(model, model_name_or_path=base)
    return TrainingCase(
        task="preference",
        model=shape_of(base),
        num_gpus=target.num_devices,
        machine=target.machine,
        rows=rows,
        responses=responses,
        shared=0.0 if target.machine.on_gpu else assumed.prompt_tokens or 0.0,
        mean_length=assumed.row_tokens(max_length),
        max_length=max_length,
        accumulation=accumulation,
        samples=samples,
        sample_tokens=sample_tokens,
        adapter=adapter_parameters(sized, "CAUSAL_LM") if model.use_peft else 0,
        four_bit=model.load_in_4bit,
        bf16=bf16,
        moment_bytes=moment_bytes,
        achieved=achieved_on(target.machine, bf16=bf16),
        checkpointing=model.gradient_checkpointing,
    )
