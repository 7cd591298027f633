"""Reinforcement learning from a reward: proximal policy optimization (PPO).

    rlhf ppo --config recipes/pocket/ppo.yaml

Rows are prompts ({"prompt"}); other columns are passed to reward functions. The reward is a reward
model, a Python function, or a weighted sum of these. A step is one iteration of rollout_batch_size
responses. The output folder loads with plain AutoModelForCausalLM. samples/ holds responses to the
same prompts before and after training: those with the best and the worst rewards, and random ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlhf.recipes.early_checks import check_paths
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import plain_console
from rlhf.runtime.run_folder import begin_run
from rlhf.training.ppo.settings import PPO_CLASSES, settings_of

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from rlhf.training.ppo.metrics import OnStep
    from rlhf.training.ppo.setup import PPOSetup

# Functions import what loads transformers, in the order in which they need it: a mistake is
# reported without waiting for the imports of later steps.


def main() -> None:
    """Check, train, save, report."""
    setup = check()
    from rlhf.planning.report import check_fits, lines
    from rlhf.planning.target import launch_target
    from rlhf.training.ppo.plan import plan

    run_config = setup.settings.run
    planned = plan(setup.settings, launch_target(setup.world_size, timed=run_config.dry_run))
    if run_config.dry_run:
        print_once(*setup.notes, *lines(planned))
        return
    if not run_config.skip_plan:
        print_once(*check_fits(planned))
    from rich.progress import Progress as Bar

    from rlhf.training.ppo.trainer import PPOTrainer

    with Bar(console=plain_console(stderr=True), disable=not is_main_process()) as bar:
        trainer = PPOTrainer.from_setup(setup, on_step=progress_of(bar, setup.config.num_steps))
        trainer.train()
    trainer.save()
    on_main_process(lambda: finish(setup))


def check() -> PPOSetup:
    """Keys, run folder, tokenizers, reward and rows, before a weight is loaded."""
    settings = settings_of(parse_config(*PPO_CLASSES, description=__doc__))
    optional = settings.ppo.environment is not None
    rewards = parse_rewards(settings.reward.reward, optional=optional)
    check_paths(
        settings.run, settings.data.train_data, settings.data.eval_data, settings.ppo.ptx_data
    )
    from rlhf.training.ppo.setup import check_run

    world_size = begin_run(settings.run, sharding="fsdp")
    return check_run(settings, rewards, world_size=world_size)


def finish(setup: PPOSetup) -> None:
    """report.html, and the upload. Call it on one process."""
    from rlhf.report.write import write_report
    from rlhf.training.common.publish import push_to_hub

    print_once(f"report: {write_report(setup.folder)}")
    push_to_hub(setup.folder, setup.settings.run.push_to_hub)


def progress_of(bar: Bar, num_steps: int) -> OnStep:
    """What the trainer calls after each step: it moves the bar and prints some lines."""
    from rlhf.training.ppo.metrics import PROGRESS, is_printed

    task = bar.add_task("ppo", total=num_steps)

    def show(step: int, metrics: Mapping[str, float]) -> None:
        text = "  ".join(f"{name} {metrics[name]:.2f}" for name in PROGRESS)
        bar.update(task, completed=step, description=f"ppo {text}")
        if is_main_process() and is_printed(step, num_steps):
            bar.console.print(f"step {step}/{num_steps}  {text}", highlight=False)

    return show


if __name__ == "__main__":
    run(main, name="rlhf ppo")
