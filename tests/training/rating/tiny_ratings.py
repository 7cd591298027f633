"""Tiny runs on verdicts and ratings that can be learned."""

import json
import random

from rlhf.models.load import new_reward_model
from rlhf.models.scorer import Scorer
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.rating.data import axis_scales, outcome_axis, tokenize
from rlhf.training.rating.objective import RatingObjective
from rlhf.training.rating.setup import RatingSetup
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.scores import Scores
from rlhf.types import RatedResponse
from tests.training.tiny_runs import WORDS, metrics_of, setup_of

SETTINGS = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "logging_steps": 1}
OUTCOME = {"objective": "outcome"}
AXES = {"objective": "axes", "axis_weights": '{"cats": 1, "dogs": -0.5}'}


def responses(count, seed=0, of_prompt=3):
    """(prompt, text) of random words, several responses to each prompt."""
    draw = random.Random(seed)
    for _ in range(count):
        prompt = f"Story {draw.random()}"
        for _ in range(of_prompt):
            yield prompt, " ".join(draw.choice(WORDS) for _ in range(4))


def verdicts(count, seed=0, of_prompt=3):
    """Responses that are correct if they have a `cat`."""
    return [
        RatedResponse(prompt=p, completion=text, ratings={"correct": float("cat" in text)})
        for p, text in responses(count, seed, of_prompt)
    ]


def ratings(count, seed=0, of_prompt=3, missing=0.3):
    """Responses rated by how many of their words are `cat` and `dog`; some ratings are missing."""
    draw, rows = random.Random(seed + 1), []
    for prompt, text in responses(count, seed, of_prompt):
        every = {"cats": float(text.count("cat")), "dogs": float(text.count("dog"))}
        given = {axis: value for axis, value in every.items() if draw.random() >= missing}
        if given:
            rows.append(RatedResponse(prompt=prompt, completion=text, ratings=given))
    return rows


def as_row(rated):
    """The row of a file."""
    row = {"prompt": rated.prompt, "response": rated.completion}
    if set(rated.ratings) == {"correct"}:
        return row | {"correct": rated.ratings["correct"] == 1.0}
    return row | {"ratings": dict(rated.ratings)}


def write_rows(path, rows):
    """Write a file of the rows; returns its path."""
    path.write_text("".join(json.dumps(as_row(row)) + "\n" for row in rows))
    return path


def rating_setup(path, folder, rows, *, held_out=(), seed=0, chat=None, **keys):
    """A checked run on rows in memory."""
    config = RewardModelConfig(**(SETTINGS | keys))
    weights = config.weight_of_axis
    axes = axis_scales(rows, weights) if weights else outcome_axis(rows)

    def kind(**fields):
        return RatingSetup(**fields, axes=axes)

    return setup_of(kind, path, folder, config, train=rows, held_out=held_out, seed=seed, chat=chat)


def objective_of(setup):
    """The objective of a new model."""
    model = new_reward_model(setup.model.model_name_or_path, seed=0, num_heads=len(setup.axes))
    scores = Scores(Scorer(model, bf16=False), setup.chat.pad_token_id)
    train, held_out = (
        tokenize(setup.chat, rows, setup.axes) for rows in (setup.rows.train, setup.rows.held_out)
    )
    return RatingObjective(scores, train, held_out, setup)


def train_rating(path, folder, rows, *, resume=None, **keys):
    """Train; the model and the lines of metrics.jsonl."""
    setup = rating_setup(path, folder, rows, **keys)
    folder.mkdir(exist_ok=True)
    objective = objective_of(setup)
    loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
    run_loop(loop, resume=resume, on_step=lambda step: None)
    return objective.model, metrics_of(folder)
