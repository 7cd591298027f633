"""The whole pipeline: SFT, K responses per prompt, labels, reward model, PPO, evaluation, report.

    rlhf align --config recipes/pocket/align.yaml

One process runs the pipeline; num_processes sets the number of processes of each stage. The same
command resumes an interrupted pipeline and skips completed stages. A stage whose inputs changed
runs again, and its old folder is renamed to NAME.old-N.
"""

import shutil
from pathlib import Path

from rich.table import Table

from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import stop_on_sigterm
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.recipe_stage import recipe_stage
from rlhf.pipeline.runner import read_stage, run_stage
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import is_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import check_inputs_outside, make_folder
from rlhf.runtime.printing import plain_console, rlhf_command
from rlhf.runtime.run_folder import CONFIG, RunConfig, check_own_folder, check_upload
from rlhf.runtime.run_lock import check_not_locked, locked

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.

FOLDERS = ("sft", "labels", "reward_model", "ppo", "evaluation")
IDENTIFYING_FIELDS = ("baseline", "judge", "judge_source", "axis", "precision")
SUMMARY = ("win_rate", "score", "axis", "kl", "length", "eos_rate", "distinct_2")


def main() -> None:
    """Check all inputs, then run the stages in order."""
    run_config, config = parse_config(RunConfig, AlignConfig, description=__doc__)
    if not is_main_process():
        return  # each stage starts its own processes
    folder = Path(run_config.output_dir)
    writes_to(folder)
    check_own_folder(folder)
    check_not_locked(folder)
    check_upload(run_config.push_to_hub)
    from rlhf.pipeline.preflight import check_inputs, plan
    from rlhf.pipeline.stages import processes

    checked = check_inputs(run_config, config)
    if run_config.dry_run:
        print_once(
            f"would run in {folder} on {processes(config)} process(es):", *plan(config, checked)
        )
        return
    from rlhf.report.write import write_report

    stop_on_sigterm()
    make_folder(folder)
    with locked(folder):
        if run_config.overwrite:
            delete_stages(folder, config)
        write_atomically(folder / CONFIG, as_yaml(run_config, config))
        run_stages(run_config, config)
        report = write_report(folder)
    summarize(folder, report)


def delete_stages(folder: Path, config: AlignConfig) -> None:
    """Delete the stages of an earlier pipeline run; other folders with these names stay."""
    stages = [folder / name for name in FOLDERS if read_stage(folder / name)]
    for stage in stages:
        check_not_locked(stage)
        check_inputs_outside(stage, config)
    for stage in stages:
        shutil.rmtree(stage)


def run_stages(run_config: RunConfig, config: AlignConfig) -> None:
    """Run each stage; it is created after the stage before it, whose files it reads."""
    from rlhf.pipeline import stages
    from rlhf.pipeline.label_stage import label_stage

    run_stage(recipe_stage(stages.sft_stage(run_config, config)), print_once)
    run_stage(label_stage(run_config, config), print_once)
    run_stage(recipe_stage(stages.reward_model_stage(run_config, config)), print_once)
    stages.pass_gate(Path(run_config.output_dir), config)
    run_stage(recipe_stage(stages.ppo_stage(run_config, config)), print_once)
    run_stage(recipe_stage(stages.evaluation_stage(run_config, config)), print_once)


def summarize(folder: Path, report: Path) -> None:
    """Print the results of SFT and PPO, and where the files are."""
    from rlhf.evaluation.core.results import cell_text, find, read_results, row_label

    results = read_results(folder / "evaluation")
    table = Table("held-out prompts", "sft", "ppo", title="before and after, with 95% intervals")
    for result in results:
        is_overall = result.subset is None and result.with_contaminated
        if result.model == "ppo" and is_overall and result.metric in SUMMARY:
            fields = {key: getattr(result, key) for key in IDENTIFYING_FIELDS}
            before = find(results, result.metric, "sft", **fields)
            table.add_row(row_label(result), cell_text(before), cell_text(result))
    plain_console().print(table)
    print_once(
        f"report:   {report}",
        f"samples:  {folder / 'evaluation' / 'samples'}",
        f"model:    {folder / 'ppo'}",
        f"next:     {rlhf_command('chat', folder / 'ppo')}",
    )


if __name__ == "__main__":
    run(main, name="rlhf align")
