"""Run the stages of `rlhf align`: round 1, and the rounds after it until they no longer improve."""

from pathlib import Path

from rlhf.pipeline import stages
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.recipe_stage import recipe_stage
from rlhf.pipeline.round_labels import round_label_stage
from rlhf.pipeline.round_results import RoundResults, round_results, write_round_results
from rlhf.pipeline.rounds import FIRST, align_folder, complete_rounds
from rlhf.pipeline.rounds_config import RoundsConfig, numbers_after_first, round_config
from rlhf.pipeline.runner import run_stage
from rlhf.runtime.distributed import print_once
from rlhf.runtime.run_folder import RunConfig


def run_rounds(
    run_config: RunConfig, config: AlignConfig, rounds: RoundsConfig
) -> RoundResults | None:
    """Run all rounds; their results, or None where there is only one.

    A stage is created after the stage before it, whose files it reads. Complete rounds are never
    left out: the rule that stops early applies to the next one that is not complete.

    Raises:
        RLHFError: as `run_stage`.
        TrainingError: the gate of a round's reward model failed.
    """
    run_stage(recipe_stage(stages.sft_stage(run_config, config)), print_once)
    root = Path(run_config.output_dir)
    run_round(run_config, config, rounds, FIRST)
    results = None
    for number in numbers_after_first(rounds):
        results = _results(run_config, rounds, number - 1)
        if results.stopped and number > complete_rounds(root) and not rounds.continue_rounds:
            print_once(f"stopped after round {number - 1}: {results.stopped}")
            return results
        run_round(run_config, round_config(config, rounds, number), rounds, number)
        results = _results(run_config, rounds, number)
    return results


def run_round(
    run_config: RunConfig, config: AlignConfig, rounds: RoundsConfig, number: int
) -> None:
    """Run the stages of one round; `config` has its keys."""
    if number == FIRST:
        run_stage(label_stage(run_config, config), print_once)
    else:
        run_stage(round_label_stage(run_config, config, rounds, number), print_once)
    reward_model = stages.reward_model_stage(run_config, config, rounds, number)
    run_stage(recipe_stage(reward_model), print_once)
    stages.pass_gate(align_folder(run_config.output_dir, number), config)
    run_stage(recipe_stage(stages.ppo_stage(run_config, config, rounds, number)), print_once)
    run_stage(recipe_stage(stages.evaluation_stage(run_config, config, number)), print_once)


def _results(run_config: RunConfig, rounds: RoundsConfig, number: int) -> RoundResults:
    """The results of the rounds so far, which rounds.json has too."""
    root = Path(run_config.output_dir)
    results = round_results(root, number, patience=rounds.round_patience, seed=run_config.seed)
    write_round_results(root, results)
    return results
