"""A worker of rlhf: measure.py starts it with a JOB.json."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.interleaving import WorkerConnection
from benchmarks.workloads import Job, job_from
from rlhf.data.config import PromptDataConfig
from rlhf.models.config import BackboneConfig
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import parse_rewards
from rlhf.rollouts.config import EngineName
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import Mode, PPOConfig
from rlhf.training.ppo.settings import PPOSettings
from rlhf.training.ppo.setup import check_run
from rlhf.training.ppo.trainer import PPOTrainer

METRICS = ("score", "kl", "eos_rate", "seconds_rollout", "seconds_score", "seconds_update")


def main() -> None:
    """Run the job, one iteration per turn."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    turns = WorkerConnection()
    world_size = start_processes(job.variant.num_threads)
    quiet_logs()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        tokens = round(metrics["response_length"] * job.batch_size)
        reported = {name: metrics[name] for name in METRICS}
        turns.report(reported | {"step": step, "response_tokens": tokens})
        turns.wait()  # after the last one too: the end of a run is not part of a turn

    setup = check_run(settings_of(job), parse_rewards(job.reward_model), world_size=world_size)
    trainer = PPOTrainer.from_setup(setup, on_step=report)
    turns.report({"loaded": True})
    turns.wait()
    trainer.train()


def settings_of(job: Job) -> PPOSettings:
    """The settings of the job; other keys have their defaults."""
    mode: Mode = job.variant.mode  # type: ignore[assignment]
    engine: EngineName = job.variant.rollout_engine  # type: ignore[assignment]
    config = PPOConfig(
        mode=mode,
        rollout_engine=engine,
        rollout_python=job.variant.rollout_python,
        advantage=job.variant.method,
        num_generations=job.num_generations,
        max_steps=job.iterations,
        rollout_batch_size=job.batch_size,
        num_ppo_epochs=job.num_epochs,
        num_minibatches=job.num_minibatches,
        max_prompt_length=job.max_prompt_length,
        max_completion_length=job.max_response_length,
        learning_rate=job.learning_rate,
        kl_coef=job.kl_coef,
        missing_eos_penalty=job.missing_eos_penalty,
        save_steps=job.iterations + 1,
        num_eval_prompts=job.variant.num_processes,
    )
    return PPOSettings(
        run=RunConfig(output_dir=job.output_dir, seed=job.seed),
        model=BackboneConfig(model_name_or_path=job.policy, bf16=job.variant.bf16),
        data=PromptDataConfig(train_data=[job.prompts], show_rows=0),
        reward=RewardConfig(reward=[job.reward_model], normalize_reward="none"),
        ppo=config,
    )


if __name__ == "__main__":
    main()
