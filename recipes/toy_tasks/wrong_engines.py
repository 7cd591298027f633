"""Wrong engines: does PPO drift if its sampler is not its policy, and do importance weights help?

    python recipes/toy_tasks/wrong_engines.py --seeds 0 1 2

The world is that of frontier.py, and the reward is the gold score itself. Responses are sampled by
the policy (right), by an engine whose temperature is 0.1 too high (hot), or by one whose weights
are one iteration old (old) or two (older). Log-probs are those of training in each run. Corrected
runs weigh each token by p_train / p_sampler, up to 2, and uncut ones up to 1000. A slow run has a
quarter of the learning rate. All policies are then sampled by the right engine. A run whose engine
is too far from the policy ends early (engine-mismatch).

With advantages of mean c over the samples of a prompt, the mean gradient has a part
c Σ_a (w(a) p_sampler(a) - p_train(a)) ∇ log p_train(a), where w is the weight of a token. It is 0
for the right engine, whatever c is. ReMax's baseline is the score of the likeliest response, so
that c is far below 0, and an uncorrected policy (w = 1) moves away from its sampler. With weights
the part is 0, except for tokens whose weight is cut: a token that has become more than twice as
likely in one iteration becomes likelier still. With the mean of the samples as the baseline, as in
RLOO and GRPO, c is 0.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from peft import PeftModel  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402

from recipes.toy_tasks.exact.best import efficiency  # noqa: E402
from recipes.toy_tasks.exact.reference import reference_of_model  # noqa: E402
from recipes.toy_tasks.markov.chain import chain_of, gold  # noqa: E402
from recipes.toy_tasks.pipeline import PROMPTS, WORLD, evaluate, make_sft  # noqa: E402
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    TOY_TASKS,
    Metrics,
    metric_value,
    read_responses,
    run_seeds,
)
from rlhf import PPOConfig, PPOTrainer  # noqa: E402
from rlhf.errors import TrainingError  # noqa: E402
from rlhf.models.config import BackboneConfig  # noqa: E402
from rlhf.models.generation.decoder import Generated  # noqa: E402
from rlhf.models.shard import copy_of  # noqa: E402
from rlhf.rollouts.engine import Sampling  # noqa: E402
from rlhf.rollouts.native import NativeEngine  # noqa: E402
from rlhf.runtime.distributed import print_once  # noqa: E402
from rlhf.types import PromptBatch  # noqa: E402

KEYS = TOY_TASKS / "markov" / "methods.yaml"
KL_COEF = 0.3
# ReMax's advantages are large, so its steps are smaller than those of methods.py.
REMAX = {
    "advantage": "remax",
    "num_ppo_epochs": 1,
    "learning_rate": 5e-4,
    "kl_coef": KL_COEF,
}
RLOO = REMAX | {"advantage": "rloo"}
AS_IT_IS = {"recompute_logprobs": "always"}
CORRECTED, UNCUT = {"importance_weight_cap": 2.0}, {"importance_weight_cap": 1000.0}
SLOW = {"learning_rate": 1.25e-4}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is wrong with the engine, and the keys of the run."""

    temperature_error: float = 0.0
    lag: int = 0  # iterations
    keys: Mapping[str, Any]


ARMS = {
    "right": Arm(keys=REMAX | AS_IT_IS),
    "hot": Arm(temperature_error=0.1, keys=REMAX | AS_IT_IS),
    "hot, corrected": Arm(temperature_error=0.1, keys=REMAX | CORRECTED),
    "old": Arm(lag=1, keys=REMAX | AS_IT_IS),
    "old, corrected": Arm(lag=1, keys=REMAX | CORRECTED),
    "old, corrected, slow": Arm(lag=1, keys=REMAX | CORRECTED | SLOW),
    "old, uncut": Arm(lag=1, keys=REMAX | UNCUT),
    "older": Arm(lag=2, keys=REMAX | AS_IT_IS),
    "older, corrected": Arm(lag=2, keys=REMAX | CORRECTED),
    "RLOO, right": Arm(keys=RLOO | AS_IT_IS),
    "RLOO, old, corrected": Arm(lag=1, keys=RLOO | CORRECTED),
}


class WrongEngine(NativeEngine):
    """Samples at another temperature than it is asked for, or with older weights."""

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        self.arm = arm
        self.versions: list[PreTrainedModel | PeftModel] = []  # the oldest is sampled from

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """See `RolloutEngine`."""
        self.versions = [*self.versions, copy_of(policy)][-1 - self.arm.lag :]
        self.policy = self.versions[0]

    def generate(self, batch: PromptBatch, sampling: Sampling) -> Generated:
        """See `RolloutEngine`. The likeliest tokens, at temperature 0, are those of the model."""
        temperature = sampling.temperature and sampling.temperature + self.arm.temperature_error
        return super().generate(batch, replace(sampling, temperature=temperature))


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Run all arms in one world; returns gold, KL and what they come to.

    jobs: not used; the arms are trained in this process.
    """
    make_sft(folder, seed)
    policies = {slug(name): train(folder, slug(name), seed, arm) for name, arm in ARMS.items()}
    evaluation = evaluate(folder, "evaluation", seed, policies, judge=gold)
    rows = read_responses(evaluation, "sft")
    reference, _ = reference_of_model(
        folder / "sft",
        chain_of(seed),
        [row["prompt"] for row in rows],
        [row["text"] for row in rows],
    )
    metrics: Metrics = {}
    for name in ARMS:
        lines = read_metrics(policies[slug(name)])
        score = metric_value(evaluation, "score", slug(name), judge="gold")
        kl = metric_value(evaluation, "kl", slug(name))
        metrics |= {
            f"{name}: gold": score,
            f"{name}: KL": kl,
            f"{name}: gold less its penalty": score - KL_COEF * kl,
            f"{name}: efficiency": efficiency(reference, score, kl),
            f"{name}: largest KL": max(line["kl"] for line in lines),
            f"{name}: iterations": lines[-1]["step"],
        }
    return metrics


def train(folder: Path, name: str, seed: int, arm: Arm) -> Path:
    """Train the SFT model with this arm's engine, unless it is trained; returns the folder."""
    target = folder / name
    if (target / "manifest.json").exists():
        return target
    content = yaml.safe_load(KEYS.read_text(encoding="utf-8"))
    known = {field.name for field in fields(PPOConfig)}
    keys = {key: value for key, value in content.items() if key in known}
    trainer = PPOTrainer(
        BackboneConfig(model_name_or_path=str(folder / "sft"), bf16=False),
        str(folder / PROMPTS),
        [f"{WORLD}:gold", f"{WORLD}:complete"],
        config=PPOConfig(**{**keys, **arm.keys}),
        output_dir=target,
        seed=seed,
        overwrite=True,
    )
    trainer.sampler.engine = WrongEngine(arm)
    try:
        trainer.train()
    except TrainingError as error:
        if error.code != "engine-mismatch":
            raise
        print_once(f"{name}: {error}")
    return trainer.save()


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def slug(name: str) -> str:
    """The arm as a folder's name and a model's name."""
    return name.replace(", ", "-")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # without it a trainer takes all cores
    torch.set_num_threads(1)
    run_seeds("wrong_engines", __doc__, run)
