"""A worker of our engine: `torchrun --module benchmarks.ours JOB.json`."""

import json
import sys
from pathlib import Path

from benchmarks.turns import Turns
from benchmarks.workloads import Job, job_from
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import Mode, PPOConfig
from rlhf.training.ppo.trainer import PPOTrainer
from rlhf.types import PromptRow

SHOWN = ("score", "kl", "eos_rate", "seconds_rollout", "seconds_score", "seconds_update")


def main() -> None:
    """Train as the job says, one iteration a turn."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    turns = Turns()
    start_processes(job.contestant.num_threads)
    quiet_logs()
    lines = Path(job.prompts).read_text(encoding="utf-8").splitlines()
    rows = [PromptRow(prompt=json.loads(line)["prompt"]) for line in lines]

    def report(step: int, figures: dict[str, float]) -> None:
        tokens = round(figures["response_length"] * job.batch_size)
        shown = {name: figures[name] for name in SHOWN}
        turns.tell(shown | {"step": step, "response_tokens": tokens})
        turns.wait()  # after the last as well: what ends a run is nobody's turn

    trainer = PPOTrainer(
        RunConfig(output_dir=job.output_dir, seed=job.seed),
        _config(job),
        load_tokenizer(job.policy),
        rows,
        rows[: job.contestant.num_processes],
        checkpoint=None,
        write_manifest=lambda folder: None,
        report=report,
    )
    turns.tell({"loaded": True})
    turns.wait()
    trainer.train()


def _config(job: Job) -> PPOConfig:
    """Keys that the job does not name stay at their defaults."""
    mode: Mode = job.contestant.mode  # type: ignore[assignment]
    return PPOConfig(
        model_name_or_path=job.policy,
        train_data=[job.prompts],
        reward=[job.reward_model],
        normalize_reward="none",
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
        bf16=job.contestant.bf16,
        save_steps=job.iterations + 1,
        num_eval_prompts=1,
    )


if __name__ == "__main__":
    main()
