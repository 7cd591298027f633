"""Rejection sampling: SFT on the best of K sampled responses by a reward, once or in rounds.

    rlhf rejection_sampling --config recipes/pocket/rejection_sampling.yaml

Each round samples num_responses to each prompt of train_data, scores them by the reward of
`rlhf ppo` (models, functions, or a weighted sum), and trains on the best. With several rounds it is
RAFT (Dong et al. 2023). The same command resumes an interrupted run and skips completed stages. The
last policy is in round-N/sft.
"""

import shutil
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import stop_on_sigterm
from rlhf.pipeline.recipe_stage import recipe_stage
from rlhf.pipeline.rejection_config import RejectionConfig
from rlhf.pipeline.rounds import round_folder, round_stages
from rlhf.pipeline.runner import run_stage
from rlhf.rewards.config import RewardConfig
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import is_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import make_folder
from rlhf.runtime.printing import plain_console, rlhf_command
from rlhf.runtime.run_folder import CONFIG, RunConfig, check_own_folder, check_upload
from rlhf.runtime.run_lock import check_not_locked, locked

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.


def main() -> None:
    """Check the inputs, then run the rounds in order."""
    classes = (RunConfig, RejectionConfig, RewardConfig)
    run_config, config, reward = parse_config(*classes, description=__doc__)
    if not is_main_process():
        return  # each stage starts its own processes
    if not reward.reward:
        raise ConfigError(
            "reward is missing; give a reward model's folder or file.py:function.",
            code="missing-key",
        )
    folder = Path(run_config.output_dir)
    writes_to(folder)
    check_own_folder(folder)
    check_not_locked(folder)
    check_upload(run_config.push_to_hub)
    from rlhf.pipeline.rejection_check import check_inputs

    lines = check_inputs(run_config, config, reward)
    if run_config.dry_run:
        print_once(*lines)
        return
    stop_on_sigterm()
    make_folder(folder)
    with locked(folder):
        if run_config.overwrite:
            delete_rounds(folder)
        write_atomically(folder / CONFIG, as_yaml(run_config, config, reward))
        run_rounds(run_config, config, reward)
    summarize(run_config, config)


def run_rounds(run_config: RunConfig, config: RejectionConfig, reward: RewardConfig) -> None:
    """Run each stage; it is created after the stage before it, whose files it reads."""
    from rlhf.pipeline.rejection_stages import responses_stage, sft_stage

    for number in range(1, config.num_rounds + 1):
        run_stage(responses_stage(run_config, config, reward, number), print_once)
        run_stage(recipe_stage(sft_stage(run_config, config, number)), print_once)


def delete_rounds(folder: Path) -> None:
    """Delete the stages of an earlier run; other folders with these names stay."""
    stages = round_stages(folder)
    for stage in stages:
        check_not_locked(stage)
    for stage in stages:
        shutil.rmtree(stage)


def summarize(run_config: RunConfig, config: RejectionConfig) -> None:
    """Print the scores of each round, and where the last policy is."""
    import json

    from rich.table import Table

    from rlhf.pipeline.best_responses import STATS
    from rlhf.pipeline.rejection_stages import policy_of

    best = f"best of {config.num_responses}"
    table = Table("round", "mean score", best, "trained on", title="scores before each SFT")
    for number in range(1, config.num_rounds + 1):
        path = round_folder(run_config.output_dir, number) / "responses" / STATS
        stats = json.loads(path.read_text(encoding="utf-8"))
        scores = [f"{stats[name]:.3f}" for name in ("mean_score", "best_score")]
        table.add_row(str(number), *scores, f"{stats['kept']} of {stats['kept_score']:.3f}")
    plain_console().print(table)
    policy = policy_of(run_config, config, config.num_rounds)
    print_once(f"model:    {policy}", f"next:     {rlhf_command('chat', Path(policy))}")


if __name__ == "__main__":
    run(main, name="rlhf rejection_sampling")
