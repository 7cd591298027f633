"""A worker of SFT, reward models or DPO: `python -m benchmarks.stage_worker ENGINE JOB.json`."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.interleaving import WorkerConnection

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


class Turns:
    """Reports each optimizer step and waits for the next turn."""

    def __init__(self, units: int) -> None:
        self.connection, self.units = WorkerConnection(), units
        self.start = 0.0
        self.share = 0.0  # seconds of a step's share of the work before the first step

    def begin(self) -> None:
        """Wait for the first turn."""
        self.connection.report({"loaded": True})
        self.connection.wait()
        self.start = time.perf_counter()

    def end_step(self) -> None:
        """Report the step and wait."""
        seconds = time.perf_counter() - self.start + self.share
        self.connection.report({"seconds": seconds, "units": self.units})
        self.connection.wait()
        self.start = time.perf_counter()


def main() -> None:
    """Train, one optimizer step per turn."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    if name.startswith("rlhf"):
        import rlhf  # noqa: F401  # before torch: it sets the policy of waiting threads
    units = job["units"][name]
    turns = Turns(units * job["prompts"])
    with tempfile.TemporaryDirectory() as folder:
        if job["stage"] == "sft":
            sft(job, turns, folder, plain=name == "trl")
        elif name.startswith("trl"):
            train = trl_dpo if job["stage"] == "dpo" else trl_reward
            train(job, turns, folder, checkpointing="no checkpointing" not in name)
        elif job["stage"] == "dpo":
            rlhf_dpo(job, turns, folder, units)
        else:
            rlhf_reward(job, turns, folder, units)


def sft(job: dict[str, Any], turns: Turns, folder: str, *, plain: bool) -> None:
    """The loop of `rlhf sft`, or TRL's own trainer with the same settings and rows."""
    import trl

    from rlhf import SFTConfig, SFTTrainer
    from rlhf.data.config import DataOptions
    from rlhf.models.load import load_policy
    from rlhf.runtime import distributed
    from rlhf.training.sft.fine_tune import as_dataset, fine_tune, trl_arguments

    if plain:  # TRL as its users run it: the C library returns freed memory
        patch.object(distributed, "keep_freed_memory").start()
    distributed.start_processes(job["threads"])
    rows = [
        {"prompt": row["prompt"], "completion": response}
        for row in job["rankings"]
        for response in row["responses"][:1]
    ]
    config = SFTConfig(
        max_steps=job["steps"],
        per_device_train_batch_size=job["prompts"],
        packing=True,
        save_steps=10**9,
    )
    trainer = SFTTrainer(
        job["model"],
        rows,
        config=config,
        data_config=DataOptions(max_length=job["row_tokens"], eval_fraction=0.0),
        output_dir=Path(folder) / "run",
    )
    setup = trainer.setup
    if plain:
        peer = trl.SFTTrainer(
            model=load_policy(job["model"], dtype=setup.weights_dtype),
            args=trl_arguments(setup),
            train_dataset=as_dataset(setup.chat, setup.rows.train),
            processing_class=setup.chat.tokenizer,
            callbacks=[_end_step(turns)],
        )
        turns.begin()
        peer.train()
    else:
        setup.open_folder()
        policy = trainer._loaded()
        turns.begin()
        fine_tune(policy, setup, resume=None, on_step=lambda step: turns.end_step())


def rlhf_reward(job: dict[str, Any], turns: Turns, folder: str, size: int) -> None:
    """The loop of `rlhf reward`, on rankings of `size` responses."""
    from rlhf.data.config import DataConfig
    from rlhf.data.held_out import TrainAndHeldOut
    from rlhf.data.tokenization.tokenizer import load_tokenizer
    from rlhf.models.config import ModelConfig
    from rlhf.models.reward_init import load_model
    from rlhf.models.scorer import Scorer
    from rlhf.runtime.distributed import start_processes
    from rlhf.runtime.run_folder import RunConfig
    from rlhf.training.reward.config import RewardModelConfig
    from rlhf.training.reward.cross_fit import weigh_annotators
    from rlhf.training.reward.data import tokenize
    from rlhf.training.reward.loop import train_reward_model
    from rlhf.training.reward.scores import Scores
    from rlhf.training.reward.setup import RewardSetup
    from rlhf.types import Ranking

    start_processes(job["threads"])
    chat, config = load_tokenizer(job["model"]), ModelConfig(model_name_or_path=job["model"])
    rows = [
        Ranking(
            prompt=row["prompt"], responses=row["responses"][:size], ranks=list(range(1, size + 1))
        )
        for row in job["rankings"]
    ]
    setup = RewardSetup(
        run=RunConfig(output_dir=folder, seed=0),
        model=config,
        data=DataConfig(train_data=["rows"]),
        config=RewardModelConfig(
            max_steps=job["steps"],
            per_device_train_batch_size=job["prompts"],
            save_steps=10**9,
        ),
        world_size=1,
        bf16=True,
        chat=chat,
        rows=TrainAndHeldOut(train=rows, held_out=[], uses=[]),
    )
    rankings = weigh_annotators(tokenize(chat, rows), setup, resuming=False)
    scores = Scores(Scorer(load_model(config, 0), bf16=True), chat.pad_token_id)
    turns.begin()
    train_reward_model(
        scores, rankings, [], setup, resume=None, on_step=lambda step: turns.end_step()
    )


def trl_reward(job: dict[str, Any], turns: Turns, folder: str, *, checkpointing: bool) -> None:
    """TRL's RewardTrainer with its defaults except for the settings of the job."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**_trl_settings(job, folder, checkpointing=checkpointing)),
        train_dataset=Dataset.from_list([_pair(row) for row in job["rankings"]]),
        processing_class=tokenizer,
        callbacks=[_end_step(turns)],
    )
    turns.begin()
    trainer.train()


def rlhf_dpo(job: dict[str, Any], turns: Turns, folder: str, size: int) -> None:
    """The loop of `rlhf dpo`, on rankings of `size` responses.

    The log-probs of the reference are read before the first step, and each step is charged its
    share of those seconds.
    """
    from rlhf import DPOConfig, DPOTrainer
    from rlhf.data.config import DataOptions
    from rlhf.models.response_logprobs import ResponseLogprobs
    from rlhf.runtime.distributed import start_processes
    from rlhf.training.common.loop import TrainingLoop, run_loop
    from rlhf.training.dpo.objective import DPOObjective

    start_processes(job["threads"])
    rows = [
        row | {"responses": row["responses"][:size], "ranks": list(range(1, size + 1))}
        for row in job["rankings"]
    ]
    config = DPOConfig(
        max_steps=job["steps"], per_device_train_batch_size=job["prompts"], save_steps=10**9
    )
    trainer = DPOTrainer(
        job["model"],
        rows,
        config=config,
        data_config=DataOptions(eval_fraction=0.0),
        output_dir=Path(folder) / "run",
    )
    setup = trainer.setup
    setup.open_folder()
    module = ResponseLogprobs(trainer._run.loaded(), bf16=setup.bf16)
    start = time.perf_counter()
    objective = DPOObjective(module, setup)
    turns.share = (time.perf_counter() - start) / job["steps"]
    loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
    turns.begin()
    run_loop(loop, resume=None, on_step=lambda step: turns.end_step())


def trl_dpo(job: dict[str, Any], turns: Turns, folder: str, *, checkpointing: bool) -> None:
    """TRL's DPOTrainer with its defaults except for the settings of the job."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(job["threads"])
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        args=DPOConfig(**_trl_settings(job, folder, checkpointing=checkpointing)),
        train_dataset=Dataset.from_list([_pair(row) for row in job["rankings"]]),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[_end_step(turns)],
    )
    turns.begin()
    trainer.train()


def _trl_settings(job: dict[str, Any], folder: str, *, checkpointing: bool) -> dict[str, Any]:
    """Arguments of TRL's trainers of pairs that are not its defaults."""
    return {
        "output_dir": folder,
        "use_cpu": True,
        "max_steps": job["steps"],
        "per_device_train_batch_size": job["prompts"],
        "bf16": True,
        "gradient_checkpointing": checkpointing,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _end_step(turns: Turns) -> Any:
    """A callback of transformers' trainers that ends a turn with each optimizer step."""
    from transformers import TrainerCallback

    class EndStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **fields: Any) -> None:
            turns.end_step()

    return EndStep()


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    chosen, rejected = row["responses"][:2]
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


if __name__ == "__main__":
    main()
