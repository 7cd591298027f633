"""A worker of our engine: `torchrun --module benchmarks.ours JOB.json`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.turns import Turns
from benchmarks.workloads import Job, job_from
from rlhf.data.config import PromptDataConfig
from rlhf.models.config import BackboneConfig
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import Mode, PPOConfig, PPOSettings
from rlhf.training.ppo.setup import check_run
from rlhf.training.ppo.trainer import PPOTrainer

SHOWN = ("score", "kl", "eos_rate", "seconds_rollout", "seconds_score", "seconds_update")


def main() -> None:
    """Train as the job says, one iteration a turn."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    turns = Turns()
    world_size = start_processes(job.contestant.num_threads)
    quiet_logs()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        tokens = round(metrics["response_length"] * job.batch_size)
        shown = {name: metrics[name] for name in SHOWN}
        turns.tell(shown | {"step": step, "response_tokens": tokens})
        turns.wait()  # after the last as well: what ends a run is nobody's turn

    setup = check_run(settings_of(job), parse_rewards(job.reward_model), world_size=world_size)
    trainer = PPOTrainer.from_setup(setup, on_step=report)
    turns.tell({"loaded": True})
    turns.wait()
    trainer.train()


def settings_of(job: Job) -> PPOSettings:
    """Keys that the job does not name stay at their defaults."""
    mode: Mode = job.contestant.mode  # type: ignore[assignment]
    config = PPOConfig(
        mode=mode,
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
        num_eval_prompts=job.contestant.num_processes,
    )
    return PPOSettings(
        run=RunConfig(output_dir=job.output_dir, seed=job.seed),
        model=BackboneConfig(model_name_or_path=job.policy, bf16=job.contestant.bf16),
        data=PromptDataConfig(train_data=[job.prompts], show_rows=0),
        reward=RewardConfig(reward=[job.reward_model], normalize_reward="none"),
        ppo=config,
    )


if __name__ == "__main__":
    main()
