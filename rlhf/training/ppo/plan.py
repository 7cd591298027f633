"""The plan of a PPO run: memory, seconds and what fits, before a weight is loaded."""

from dataclasses import replace
from pathlib import Path

from rlhf.models.adapter_folder import trained_on
from rlhf.models.memory import (
    TOKENS_ON_GPU,
    adapter_parameters,
    shape_of,
    tokens_at_once_on_cpu,
)
from rlhf.models.microbatches import GROWTH
from rlhf.models.save import ADAPTER
from rlhf.models.scorer import TOKENS_ON_CPU
from rlhf.models.scorer import TOKENS_ON_GPU as REWARD_TOKENS_ON_GPU
from rlhf.models.shape import ModelShape
from rlhf.planning.case import GRAPHED, NATIVE, Assumed, Batch, Case, Target, achieved_on
from rlhf.planning.plan import Plan, ppo_plan
from rlhf.rewards.spec import parse_rewards
from rlhf.training.common.optimizer import moment_bytes
from rlhf.training.ppo.modes import adapter_config
from rlhf.training.ppo.settings import PPOSettings
from rlhf.training.ppo.setup import FRESH


def plan(settings: PPOSettings, target: Target, assumed: Assumed | None = None) -> Plan:
    """The plan of a run with these keys on these devices."""
    return ppo_plan(
        case_of(settings, target, assumed or Assumed()),
        sharded=target.sharded,
        steps=settings.ppo.num_steps,
    )


def case_of(settings: PPOSettings, target: Target, assumed: Assumed) -> Case:
    """What is planned: the sizes of the run's models, and its batches."""
    config, machine = settings.ppo, target.machine
    base = assumed.path(settings.model.model_name_or_path)
    bf16 = target.bf16_is_fast if settings.model.bf16 is None else settings.model.bf16
    adapter = critic_adapter = 0
    if config.mode == "lora":
        adapters = adapter_config(settings.model, base)
        adapter = adapter_parameters(adapters, "CAUSAL_LM")
        of_critic = replace(adapters, lora_modules_to_save=None)
        critic_adapter = adapter_parameters(of_critic, "CAUSAL_LM")
    return Case(
        model=shape_of(base),
        batch=_batch(settings, base, target, assumed),
        num_gpus=target.num_devices,
        engine=GRAPHED if config.cuda_graphs else NATIVE,
        machine=machine,
        mode=config.mode,
        critic_model=_critic(settings, base, assumed),
        reward_models=_rewards(settings, base, assumed),
        adapter=adapter,
        critic_adapter=critic_adapter,
        four_bit=settings.model.load_in_4bit,
        bf16=bf16,
        moment_bytes=moment_bytes(config.optim),
        achieved=achieved_on(machine, bf16=bf16),
        checkpointing=settings.model.gradient_checkpointing,
    )


def _batch(settings: PPOSettings, base: str, target: Target, assumed: Assumed) -> Batch:
    config, on_gpu = settings.ppo, target.machine.on_gpu
    tokens = config.max_tokens_per_microbatch
    if tokens is None:
        tokens = TOKENS_ON_GPU if on_gpu else tokens_at_once_on_cpu(base)
        if config.num_generations > 1 and not on_gpu:  # it grows where a prompt is long
            group = config.max_prompt_length + config.num_generations * config.max_completion_length
            tokens = max(tokens, min(GROWTH * tokens, group))
    return Batch(
        name=config.advantage,
        critic=config.has_critic,
        num_prompts=config.num_prompts,
        num_generations=config.num_generations,
        prompt_length=assumed.prompt_tokens or config.max_prompt_length / 2,
        max_prompt=config.max_prompt_length,
        mean_response=assumed.response_tokens or config.max_completion_length / 2,
        max_response=config.max_completion_length,
        num_epochs=config.num_ppo_epochs,
        num_minibatches=config.num_minibatches,
        microbatch_tokens=tokens,
        reward_tokens=REWARD_TOKENS_ON_GPU if on_gpu else TOKENS_ON_CPU,
    )


def _critic(settings: PPOSettings, base: str, assumed: Assumed) -> ModelShape:
    """The sizes of a separate critic: those of value_model_path, else of the policy.

    A reward model with the policy's vocabulary, from which a critic starts by default, mostly has
    its sizes as well.
    """
    path = settings.ppo.value_model_path
    return shape_of(base if path in (None, FRESH) else assumed.path(str(path)))


def _rewards(settings: PPOSettings, base: str, assumed: Assumed) -> tuple[ModelShape, ...]:
    """The reward models that are loaded whole. An adapter of the policy's backbone is left out."""
    shapes = []
    for spec in parse_rewards(settings.reward.reward, optional=True):
        if (language_model := spec.language_model) is not None:
            shapes.append(shape_of(assumed.path(language_model)))
        if spec.path is None:
            continue
        shares = settings.ppo.mode == "lora" and trained_on(Path(spec.path) / ADAPTER, base)
        if not shares:
            shapes.append(shape_of(assumed.path(spec.path)))
    return tuple(shapes)
