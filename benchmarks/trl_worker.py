"""A worker of TRL's PPO, in TRL's environment: measure.py starts it with a JOB.json.

TRL is not changed: two of its functions are timed from outside, and a callback ends the turn after
each iteration.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerState,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.interleaving import WorkerConnection
from benchmarks.workloads import Job, job_from

T = TypeVar("T")


class Phases:
    """End times of rollout and score within an iteration, and the number of sampled tokens."""

    def __init__(self, eos_token_id: int) -> None:
        self.eos_token_id = eos_token_id
        self.start = self.rollout_end = self.score_end = 0.0
        self.response_tokens = self.ended = 0
        ppo_trainer.batch_generation = self._after(ppo_trainer.batch_generation, self._sampled)
        ppo_trainer.get_reward = self._after(ppo_trainer.get_reward, self._scored)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase of this iteration; the update starts after the last score."""
        now = time.perf_counter()
        return {
            "seconds_rollout": self.rollout_end - self.start,
            "seconds_score": self.score_end - self.rollout_end,
            "seconds_update": now - self.score_end,
        }

    def _sampled(self, result: Sequence[Tensor], arguments: Sequence[Any]) -> None:
        self.rollout_end = time.perf_counter()
        responses = result[0][:, arguments[1].shape[1] :]
        is_end = responses == self.eos_token_id
        length = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, responses.shape[1])
        self.response_tokens, self.ended = int(length.sum()), int(is_end.any(1).sum())

    def _scored(self, result: object, arguments: object) -> None:
        self.score_end = time.perf_counter()

    def _after(
        self, function: Callable[..., T], record: Callable[[T, Sequence[Any]], None]
    ) -> Callable[..., T]:
        def timed(*arguments: object) -> T:
            result = function(*arguments)
            record(result, arguments)
            return result

        return timed


class TurnCallback(TrainerCallback):
    """Reports the metrics of the iteration and waits for the next turn."""

    def __init__(self, turns: WorkerConnection, phases: Phases, job: Job) -> None:
        self.turns, self.phases, self.job = turns, phases, job
        self.logged: dict[str, float] = {}

    def on_log(self, args: object, state: TrainerState, control: object, **fields: Any) -> None:
        """Store TRL's metrics of the iteration."""
        self.logged = fields["logs"]

    def on_step_end(
        self, args: object, state: TrainerState, control: object, **fields: Any
    ) -> None:
        """End the turn."""
        share = self.job.variant.num_processes  # counts are this rank's
        metrics = {
            "score": self.logged["objective/scores"],
            "kl": self.logged["objective/kl"],
            "eos_rate": self.phases.ended * share / self.job.batch_size,
            "step": state.global_step,
            "response_tokens": self.phases.response_tokens * share,
        }
        self.turns.report(metrics | self.phases.seconds())
        self.turns.wait()  # after the last one too: the end of a run is not part of a turn
        self.phases.start = time.perf_counter()


def main() -> None:
    """Run the job, one iteration per turn."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    turns = WorkerConnection()
    torch.set_num_threads(job.variant.num_threads)
    tokenizer = AutoTokenizer.from_pretrained(job.policy, padding_side="left")
    phases = Phases(tokenizer.eos_token_id)
    trainer = _trainer(job, tokenizer, TurnCallback(turns, phases, job))
    turns.report({"loaded": True})
    turns.wait()
    phases.start = time.perf_counter()
    # PPOConfig's bf16 flag has no effect here; a user can use autocast instead.
    autocast = torch.autocast("cpu", torch.bfloat16) if job.variant.bf16 else None
    with autocast or contextlib.nullcontext():
        trainer.train()


def _trainer(job: Job, tokenizer: PreTrainedTokenizerBase, callback: TrainerCallback) -> PPOTrainer:
    lines = Path(job.prompts).read_text(encoding="utf-8").splitlines()
    rows = Dataset.from_dict({"input_ids": [json.loads(line)["ids"] for line in lines]})
    reward_models = [
        AutoModelForSequenceClassification.from_pretrained(job.reward_model, dtype=torch.float32)
        for _ in range(2)
    ]
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(job.policy, dtype=torch.float32) for _ in range(2)
    )
    return PPOTrainer(
        args=_config(job),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward_models[0],
        value_model=reward_models[1],
        train_dataset=rows,
        eval_dataset=rows.select(range(job.batch_size)),
        callbacks=[callback],
    )


def _config(job: Job) -> PPOConfig:
    """TRL's defaults except for the settings of the job.

    Accumulation 1: with more, num_mini_batches would no longer be the number of optimizer steps.
    """
    local = job.batch_size // job.variant.num_processes
    config = PPOConfig(
        output_dir=job.output_dir,
        use_cpu=True,
        seed=job.seed,
        total_episodes=job.iterations * job.batch_size,
        per_device_train_batch_size=local,
        gradient_accumulation_steps=1,
        num_mini_batches=job.num_minibatches,
        num_ppo_epochs=job.num_epochs,
        response_length=job.max_response_length,
        stop_token="eos",
        missing_eos_penalty=job.missing_eos_penalty,
        temperature=1.0,
        learning_rate=job.learning_rate,
        kl_coef=job.kl_coef,
        logging_steps=1,
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    if job.variant.tuned:
        # Smaller parts of a rollout: less of [B, R, V] at once, and short responses end a part.
        config.local_rollout_forward_batch_size = max(1, local // 4)
    return config


if __name__ == "__main__":
    main()
