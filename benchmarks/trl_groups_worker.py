"""A worker of TRL 1.16's GRPO or RLOO: measure.py starts it with a JOB.json.

TRL is not changed: two of its methods are timed from outside, and a callback ends the turn after
each iteration.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from benchmarks.interleaving import WorkerConnection
from benchmarks.length_reward import reward
from benchmarks.workloads import Job, job_from


class Connection(Protocol):
    """Where the metrics of an iteration go."""

    def report(self, metrics: Mapping[str, object]) -> None:
        """Take the metrics."""

    def wait(self) -> None:
        """Return when the next iteration may begin."""


class Turns(TrainerCallback):
    """Reports the metrics of the iteration and waits for the next turn."""

    def __init__(self, connection: Connection, job: Job) -> None:
        self.connection, self.job = connection, job
        self.logged: dict[str, float] = {}
        self.start = self.generated = self.scored = 0.0

    def on_log(self, args: Any, state: Any, control: Any, **fields: Any) -> None:
        """Store TRL's metrics of the iteration."""
        self.logged = fields["logs"]

    def on_step_end(self, args: Any, state: Any, control: Any, **fields: Any) -> None:
        """TRL logs after this; the turn ends there."""
        self.updated = _now()
        control.should_log = True

    def end_turn(self, step: int) -> None:
        """Report the iteration, and wait."""
        length = self.logged["completions/mean_length"]
        self.connection.report(
            {
                "step": step,
                "score": self.logged["reward"],
                "kl": self.logged.get("kl", 0.0) * length,  # TRL's is a mean over tokens
                "response_tokens": round(length * self.job.batch_size),
                "seconds_rollout": self.generated - self.start,
                "seconds_score": self.scored - self.generated,
                "seconds_update": self.updated - self.scored,
            }
        )
        self.connection.wait()  # after the last one too: the end of a run is not part of a turn
        self.start = time.perf_counter()


def main() -> None:
    """Run the job, one iteration per turn."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    connection = WorkerConnection()
    torch.set_num_threads(job.variant.num_threads)
    train(job, connection, use_cpu=True)


def train(job: Job, connection: Connection, *, use_cpu: bool) -> None:
    """Take the job's optimizer steps, and report each."""
    turns = Turns(connection, job)
    trainer = _trainer(job, turns, use_cpu=use_cpu)
    _time(trainer, "_generate", turns, "generated")
    _time(trainer, "_generate_and_score_completions", turns, "scored")
    log = trainer.log

    def log_and_end_turn(logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        log(logs, *arguments, **options)
        if "reward" in turns.logged:
            turns.end_turn(trainer.state.global_step)

    trainer.log = log_and_end_turn
    connection.report({"loaded": True})
    connection.wait()
    turns.start = time.perf_counter()
    trainer.train()


def _time(trainer: Any, method: str, turns: Turns, name: str) -> None:
    """Store the time at which the method returns."""
    call: Callable[..., Any] = getattr(trainer, method)

    def timed(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        setattr(turns, name, _now())
        return result

    setattr(trainer, method, timed)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _trainer(job: Job, turns: Turns, *, use_cpu: bool) -> Any:
    """TRL's defaults except for the settings of the job.

    `tuned` has no gradient checkpointing, which rlhf does not have by default either.
    """
    lines = Path(job.prompts).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    messages = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]
    # The two configurations have the fields below in common, and so have the two trainers.
    config: Any
    trainer: Any
    config, trainer = (
        (GRPOConfig, GRPOTrainer) if job.variant.method == "grpo" else (RLOOConfig, RLOOTrainer)
    )
    rows = job.batch_size // job.variant.num_processes
    per_device = job.variant.rows_per_device or rows
    arguments = config(
        output_dir=job.output_dir,
        use_cpu=use_cpu,
        seed=job.seed,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=rows // per_device,
        num_generations=job.num_generations,
        num_iterations=job.num_epochs,
        max_completion_length=job.max_response_length,
        beta=job.kl_coef,
        learning_rate=job.learning_rate,
        max_steps=job.iterations,
        bf16=job.variant.bf16,
        gradient_checkpointing=not job.variant.tuned,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    return trainer(
        model=AutoModelForCausalLM.from_pretrained(job.policy, dtype=torch.float32),
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_list(messages),
        processing_class=AutoTokenizer.from_pretrained(job.policy, padding_side="left"),
        peft_config=lora if job.variant.mode == "lora" else None,
        callbacks=[turns],
    )


if __name__ == "__main__":
    main()
