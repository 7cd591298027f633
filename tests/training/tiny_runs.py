"""Tiny SFT and reward-model runs: setups without files, and rankings that can be learned."""

import json
import random

import torch

from rlhf.data.config import DataConfig
from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.scorer import Scorer
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import tokenize
from rlhf.training.reward.loop import train_reward_model
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.fine_tune import fine_tune
from rlhf.training.sft.setup import SFTSetup
from rlhf.types import Demonstration, Ranking

WORDS = "red ball box cat dog bird sea story".split()
DEMONSTRATIONS = [
    Demonstration(prompt=f"Where is the {thing}?", completion=f"The {thing} is in the {place}.")
    for thing in ("ball", "cat", "dog", "bird")
    for place in ("box", "sea")
]


def setup_of(kind, path, folder, config, *, train=(), held_out=(), seed=0, bf16=False, chat=None):
    """A checked run on the model in `path`, of rows that are not read from a file."""
    return kind(
        run=RunConfig(output_dir=str(folder), seed=seed),
        model=ModelConfig(model_name_or_path=str(path), bf16=bf16),
        data=DataConfig(train_data=["rows"], max_length=128),
        config=config,
        world_size=1,
        bf16=bf16,
        chat=chat or load_tokenizer(str(path)),
        rows=TrainAndHeldOut(train=list(train), held_out=list(held_out), uses=[]),
    )


def tune(path, folder, *, model=None, resume=None, rows=DEMONSTRATIONS, held_out=(), **keys):
    """Fine-tune; the result and the lines of metrics.jsonl."""
    settings = {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "logging_steps": 1}
    config = SFTConfig(**(settings | keys))
    setup = setup_of(SFTSetup, path, folder, config, train=rows, held_out=held_out)
    result = fine_tune(model or load_policy(path), setup, resume=resume)
    return result, metrics_of(folder)


def rankings(count, seed=0, responses=3):
    """Responses in the order of how many of their words are `cat`."""
    draw, rows = random.Random(seed), []
    while len(rows) < count:
        texts = [" ".join(draw.choice(WORDS) for _ in range(4)) for _ in range(responses)]
        ranks = [1 + sum(b.count("cat") > a.count("cat") for b in texts) for a in texts]
        if len(set(ranks)) > 1:
            rows.append(Ranking(prompt=f"Story {draw.random()}", responses=texts, ranks=ranks))
    return rows


def reward_setup(path, folder, rows=(), *, seed=0, bf16=False, chat=None, **keys):
    """A checked run of a reward model."""
    settings = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "logging_steps": 1}
    config = RewardModelConfig(**(settings | keys))
    return setup_of(RewardSetup, path, folder, config, train=rows, seed=seed, bf16=bf16, chat=chat)


def train_reward(path, folder, rows, *, held_out=(), resume=None, model=None, **keys):
    """Train a reward model; the model and the lines of metrics.jsonl."""
    model = model if model is not None else new_reward_model(path, seed=0)
    setup = reward_setup(path, folder, rows, **keys)
    folder.mkdir(exist_ok=True)
    scores = Scores(Scorer(model, bf16=setup.bf16), setup.chat.pad_token_id)
    train_reward_model(
        scores, tokenize(setup.chat, rows), tokenize(setup.chat, held_out), setup, resume=resume
    )
    return model, metrics_of(folder)


def metrics_of(folder):
    """The lines of metrics.jsonl; none where a run had no step left to take."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def assert_same_weights(one, two, **tolerance):
    """All parameters of two models."""
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)
