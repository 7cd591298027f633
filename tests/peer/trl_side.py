"""Compute TRL 1.12's results for the models in a folder, in its environment; see test_parity.py.

python trl_side.py FOLDER      # reads FOLDER/inputs.pt, writes FOLDER/trl.pt
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.trainer.utils import selective_log_softmax


def main(folder: Path) -> None:
    """Write the results of TRL's functions and the details of its first optimizer step."""
    inputs = torch.load(folder / "inputs.pt")
    values, mask = inputs["values"], inputs["mask"]
    results = {
        "mean": ppo_trainer.masked_mean(values, mask),
        "variance": ppo_trainer.masked_var(values, mask),
        "whitened": ppo_trainer.masked_whiten(values, mask),
        "whitened_around_mean": ppo_trainer.masked_whiten(values, mask, shift_mean=False),
        "logprobs": selective_log_softmax(inputs["logits"], inputs["tokens"]),
    }
    torch.save(results | first_step(folder), folder / "trl.pt")


def first_step(folder: Path) -> dict[str, object]:
    """Samples, loss and gradients of one iteration with one optimizer step."""
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        for name in ("policy", "reference")
    )
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(
            folder / "reward_model", dtype=torch.float32
        )
        for _ in range(2)
    )
    lines = (folder / "prompts.jsonl").read_text().splitlines()[:8]
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(folder / "out"),
            use_cpu=True,
            total_episodes=8,
            per_device_train_batch_size=8,
            num_ppo_epochs=1,
            response_length=6,
            temperature=0.7,
            kl_coef=0.3,
            gamma=0.97,
            lam=0.9,
            num_sample_generations=0,
            save_strategy="no",
            report_to="none",
        ),
        processing_class=AutoTokenizer.from_pretrained(folder / "policy", padding_side="left"),
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": [json.loads(x)["ids"] for x in lines]}),
        eval_dataset=Dataset.from_dict({"input_ids": [json.loads(x)["ids"] for x in lines]}),
    )
    records: dict[str, object] = {}
    sample, backward = ppo_trainer.batch_generation, trainer.accelerator.backward

    def record_sample(model, queries, *arguments):
        query_responses, logits = sample(model, queries, *arguments)
        records["queries"], records["responses"] = queries, query_responses[:, queries.shape[1] :]
        return query_responses, logits

    def record_backward(loss):
        backward(loss)
        records["loss"] = loss.detach()
        records["policy"] = {name: p.grad.clone() for name, p in policy.named_parameters()}
        records["value"] = {
            name: p.grad.clone() for name, p in value.named_parameters() if p.grad is not None
        }

    ppo_trainer.batch_generation, trainer.accelerator.backward = record_sample, record_backward
    trainer.train()
    return records


if __name__ == "__main__":
    main(Path(sys.argv[1]))
