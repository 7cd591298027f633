"""The steps of `rlhf reward` once its run is checked."""

import math
from collections.abc import Sequence

import torch

from rlhf.errors import CheckpointError
from rlhf.evaluation.reward_model.rated_report import make_rated_report
from rlhf.evaluation.reward_model.report import (
    RewardReport,
    make_report,
    print_report,
    write_reward_report,
)
from rlhf.evaluation.reward_model.scored_rankings import ScoringModel, Text, score_texts
from rlhf.report.write import write_report
from rlhf.rewards.model import RewardModel
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.printing import counted
from rlhf.training.common.metrics import read_metrics
from rlhf.training.common.publish import push_to_hub
from rlhf.training.common.rankings import trained_on
from rlhf.training.rating.setup import RatingSetup
from rlhf.training.rating.text_scores import RatingTextScores
from rlhf.training.rating.trainer import RatingTrainer
from rlhf.training.reward.setup import RewardSetup
from rlhf.training.reward.text_scores import TextScores
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.types import RatedResponse

ROUNDING = 1e-3  # of a score, between two orders of the same sums


def train_reward(setup: RewardSetup | RatingSetup) -> None:
    """Train, save, report.

    Raises:
        RLHFError: as the functions that it calls.
    """
    check_saved_model(setup, report(setup, train_and_save(setup)))
    on_main_process(lambda: finish(setup))


def train_and_save(setup: RewardSetup | RatingSetup) -> TextScores | RatingTextScores:
    """Train and save; return the model with the scores of all texts that it read."""
    trainer: RatingTrainer | RewardTrainer
    if isinstance(setup, RatingSetup):
        trainer = RatingTrainer.from_setup(setup)
    else:
        trainer = RewardTrainer.from_setup(setup)
    trainer.train()
    trainer.save()
    return trainer.text_scores()


def report(
    setup: RewardSetup | RatingSetup, model: TextScores | RatingTextScores
) -> Sequence[float]:
    """The health of the trained model: evaluation.json, gate.json, and a table.

    Returns the scores of the first held-out responses, for `check_saved_model`.
    """
    if not setup.rows.held_out:
        print_once("warning: nothing was held out: no accuracy, no health report")
        return []
    health = _health(setup, model)
    on_main_process(lambda: write_reward_report(setup.folder, health))
    if is_main_process():
        name = "response" if isinstance(setup, RatingSetup) else "ranking"
        rows = counted(len(setup.rows.held_out), f"held-out {name}")
        print_report(health, f"{setup.folder}: {rows}")
    return score_texts(model, _first_texts(setup))


def _health(setup: RewardSetup | RatingSetup, model: TextScores | RatingTextScores) -> RewardReport:
    count, seed = setup.config.num_demonstrations, setup.run.seed
    if isinstance(setup, RatingSetup):
        assert isinstance(model, RatingTextScores)
        return make_rated_report(
            model,
            setup.rows.held_out,
            setup.demonstrations,
            is_outcome=setup.config.objective == "outcome",
            name="reward_model",
            num_demonstrations=count,
            seed=seed,
            trained_on=trained_on(setup.rows),
        )
    return make_report(
        model,
        setup.rows.held_out,
        setup.demonstrations,
        name="reward_model",
        num_demonstrations=count,
        seed=seed,
        trained_on=trained_on(setup.rows),
        losses=held_out_losses(setup),
    )


def held_out_losses(setup: RewardSetup) -> dict[int, float]:
    """The held-out loss by optimizer step, from metrics.jsonl."""
    found = {}
    for line in read_metrics(setup.folder):
        step, loss = line["step"], line.get("eval_loss")
        if step is not None and loss is not None:
            found[int(step)] = loss
    return found


def _first_texts(setup: RewardSetup | RatingSetup) -> list[Text]:
    """The first held-out row's responses."""
    row = setup.rows.held_out[0]
    texts = [row.completion] if isinstance(row, RatedResponse) else row.responses
    return [(row.prompt, text, row.tools) for text in texts]


def check_saved_model(setup: RewardSetup | RatingSetup, scores: Sequence[float]) -> None:
    """Check that the folder loads, and scores the first held-out responses as the trained model.

    The report is on the model in memory, which is freed by now.

    Raises:
        CheckpointError: it scores them differently.
    """
    if not scores:
        return
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model: ScoringModel = RewardModel(setup.folder, device=device)
    for saved, trained in zip(score_texts(model, _first_texts(setup)), scores, strict=True):
        if not math.isclose(saved, trained, rel_tol=ROUNDING, abs_tol=ROUNDING):
            raise CheckpointError(
                f"{setup.folder} gives a held-out response the score {saved:.4f}, but the trained "
                f"model gave it {trained:.4f}; its evaluation.json is of the trained model. Check "
                "the disk, and train again.",
                code="altered-model",
            )


def finish(setup: RewardSetup | RatingSetup) -> None:
    """Write report.html and upload the folder. Call it on one process."""
    print_once(f"report: {write_report(setup.folder)}")
    push_to_hub(setup.folder, setup.run.push_to_hub)
