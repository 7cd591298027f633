"""A reward model from human labels: rankings, verdicts, or ratings by axis.

    rlhf reward --config recipes/pocket/reward_model.yaml

Rows of rankings are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}; a batch
has all responses to a prompt at once. With objective=outcome rows are {"prompt", "response",
"correct"}, and σ(logit) is the probability that a response is correct. With objective=axes rows are
{"prompt", "response", "ratings"}, and the reward is the sum of the axes by axis_weights.

The output loads with plain AutoModelForSequenceClassification(num_labels=1). (logit - mean) / std
has mean 0 on the demonstrations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf.data.config import DataConfig
from rlhf.models.config import ModelConfig
from rlhf.recipes.early_checks import check_paths
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.reward.config import RewardModelConfig

if TYPE_CHECKING:
    from rlhf.planning.plan import Plan
    from rlhf.training.rating.setup import RatingSetup
    from rlhf.training.reward.setup import RewardSetup

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.


def main() -> None:
    """Check, train, save, report."""
    setup = check()
    from rlhf.planning.report import check_fits, lines

    planned = plan(setup)
    if setup.run.dry_run:
        print_once(*setup.notes, *lines(planned))
        return
    if not setup.run.skip_plan:
        print_once(*check_fits(planned))
    from rlhf.recipes.reward_steps import train_reward

    train_reward(setup)


def check() -> RewardSetup | RatingSetup:
    """The checked run: keys, folder, tokenizer and every row, before a weight is loaded."""
    classes = (RunConfig, ModelConfig, DataConfig, RewardModelConfig)
    configs = parse_config(*classes, description=__doc__)
    run_config, _, data, config = configs
    check_paths(run_config, data.train_data, data.eval_data, config.normalization_data)
    if config.objective == "rankings":
        from rlhf.training.reward.setup import check_run

        return check_run(*configs)
    from rlhf.training.rating.setup import check_run as check_ratings

    return check_ratings(*configs)


def plan(setup: RewardSetup | RatingSetup) -> Plan:
    """The plan of the run on the devices of this launch."""
    from rlhf.planning.target import launch_target
    from rlhf.training.rating.plan import plan_of_setup as plan_of_ratings
    from rlhf.training.rating.setup import RatingSetup
    from rlhf.training.reward.plan import plan_of_setup

    target = launch_target(setup.world_size, timed=setup.run.dry_run)
    if isinstance(setup, RatingSetup):
        return plan_of_ratings(setup, target)
    return plan_of_setup(setup, target)


if __name__ == "__main__":
    run(main, name="rlhf reward")
