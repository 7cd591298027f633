"""A reward model from human rankings, trained on all pairs of a prompt's responses at once.

    rlhf reward --config recipes/pocket/reward_model.yaml

Rows are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}. The output loads with
plain AutoModelForSequenceClassification(num_labels=1). (logit - mean) / std has mean 0 on the
demonstrations.
"""

import torch

from rlhf.data.config import DataConfig
from rlhf.evaluation.reward_model.report import make_report, print_report, write_reward_report
from rlhf.models.config import ModelConfig
from rlhf.models.memory import model_size
from rlhf.report.write import write_report
from rlhf.rewards.model import RewardModel
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.publish import push_to_hub
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.setup import RewardSetup, check_run
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.reward.validation import trained_on


def main() -> None:
    """Check, train, save, report."""
    setup = check()
    if setup.run.dry_run:
        print_once(*setup.notes, model_size(setup.model, "SEQ_CLS"))
        return
    train_and_save(setup)
    report(setup)
    on_main_process(lambda: finish(setup))


def check() -> RewardSetup:
    """The checked run: keys, folder, tokenizer and every row, before a weight is loaded."""
    return check_run(
        *parse_config(RunConfig, ModelConfig, DataConfig, RewardModelConfig, description=__doc__)
    )


def train_and_save(setup: RewardSetup) -> None:
    """Train and save. The model is freed at the end: the report reads it from its folder."""
    trainer = RewardTrainer.from_setup(setup)
    trainer.train()
    trainer.save()


def report(setup: RewardSetup) -> None:
    """The health of the saved model: evaluation.json, gate.json, and a table."""
    if not setup.rows.held_out:
        print_once("warning: nothing was held out: no accuracy, no health report")
        return
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    health = make_report(
        RewardModel(setup.folder, device=device),
        setup.rows.held_out,
        setup.demonstrations,
        name="reward_model",
        num_demonstrations=setup.config.num_demonstrations,
        seed=setup.run.seed,
        trained_on=trained_on(setup.rows),
    )
    on_main_process(lambda: write_reward_report(setup.folder, health))
    if is_main_process():
        print_report(health, f"{setup.folder}: {len(setup.rows.held_out)} held-out rankings")


def finish(setup: RewardSetup) -> None:
    """Write report.html and upload the folder. Call it on one process."""
    print_once(f"report: {write_report(setup.folder)}")
    push_to_hub(setup.folder, setup.run.push_to_hub)


if __name__ == "__main__":
    run(main, name="rlhf reward")
