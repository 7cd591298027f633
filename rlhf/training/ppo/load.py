"""Everything that a PPO run works with, loaded from the base model or from a checkpoint."""

from dataclasses import dataclass

from accelerate import Accelerator, DistributedDataParallelKwargs

from rlhf.data.tokenization.chat import prompt_text
from rlhf.models.shard import sharding_requested
from rlhf.rewards.reward import Reward
from rlhf.rollouts.engine import RolloutEngine
from rlhf.rollouts.load import load_engine
from rlhf.runtime.distributed import on_main_process
from rlhf.training.common.checkpoint import checkpoint_of_run
from rlhf.training.common.provenance import check_same_base
from rlhf.training.ppo.ahead import AheadState
from rlhf.training.ppo.compute import Compute, resolve_compute
from rlhf.training.ppo.models import load_models
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.ptx import Pretraining
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.state import Progress, identity_of, load_state, restore_state
from rlhf.training.ppo.update import PPOUpdater
from rlhf.training.ppo.validation import check_processes


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """Models, reward and optimizers of a run, and how far it is."""

    accelerator: Accelerator
    compute: Compute
    models: PPOModels
    reward: Reward
    updater: PPOUpdater
    progress: Progress
    engine: RolloutEngine
    ahead: AheadState | None  # responses of this process that a checkpoint has
    notes: list[str]  # about the checkpoint and the models, a sentence each


def load_run(setup: PPOSetup) -> LoadedRun:
    """The loaded run, at the checkpoint that `setup` resumes from, if any.

    Raises:
        ConfigError: fewer prompts than processes.
        CheckpointError: a checkpoint that is missing, torn, or of another run.
    """
    # Buffers are the same everywhere and never change: broadcasting them at each forward
    # would hang where ranks have different numbers of microbatches. Gradients are views of
    # the buckets that are summed over ranks, not copies.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[ddp])
    num_processes = accelerator.num_processes
    sharded = sharding_requested() and num_processes > 1
    check_processes(setup.settings, len(setup.held_out), num_processes)
    checkpoint, notes = checkpoint_of_run(setup.settings.run)
    state = None
    if checkpoint is not None:
        on_main_process(lambda: check_same_base(checkpoint, setup.base))
        state = load_state(checkpoint, identity_of(setup))
    compute = resolve_compute(setup.config, setup.settings.model, accelerator.device)
    models, reward, model_notes = load_models(setup, compute, checkpoint, sharded=sharded)
    pretraining = None
    if setup.texts:
        pretraining = Pretraining(accelerator, models, setup, compute)
    updater = PPOUpdater(accelerator, models, setup.config, compute, pretraining)
    progress, ahead = Progress(kl_coef=setup.config.kl_coef), None
    if checkpoint is not None and state is not None:
        progress = restore_state(
            state,
            checkpoint,
            models,
            updater,
            process_index=accelerator.process_index,
            num_processes=num_processes,
        )
        pending = state.get("ahead", [])
        if len(pending) == num_processes:
            ahead = pending[accelerator.process_index]
    return LoadedRun(
        accelerator=accelerator,
        compute=compute,
        models=models,
        reward=reward,
        updater=updater,
        progress=progress,
        engine=_engine(setup, compute),
        ahead=ahead,
        notes=[*notes, *model_notes],
    )


def _engine(setup: PPOSetup, compute: Compute) -> RolloutEngine:
    """The engine that samples responses, and reads a prompt of the run as the policy does."""
    chat, row = setup.chat, setup.prompts[0]
    text = prompt_text(chat, row.prompt, row.tools)
    return load_engine(
        setup.config,
        model=setup.base,
        max_length=setup.config.max_length,
        bf16=compute.bf16,
        seed=setup.seed,
        folder=setup.folder,
        cuda_graphs=setup.config.cuda_graphs,
        copies=setup.config.rollout_lag > 0,
        texts=[text],
        ids=[chat.tokenizer(text, add_special_tokens=False)["input_ids"]],
        sleeps=setup.config.rollout_sleep,
    )
