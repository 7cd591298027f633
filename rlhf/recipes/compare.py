"""Compare methods on the same labels: judge's win rate against KL, cost, and which one to take.

    rlhf compare --config recipes/pocket/compare.yaml

All methods start from one SFT model and train on one file of labels, through a reward model (ppo,
rejection_sampling, best_of_n) or directly (dpo, kto). Each runs at each strength with each seed,
and all policies answer the same held-out prompts. The same command resumes an interrupted
comparison and skips complete runs. A run whose inputs changed runs again, and its old folder is
renamed to NAME.old-N. Results: compare.html, compare.md, compare.json and compare.svg.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import stop_on_sigterm
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.runner import read_stage, run_stage
from rlhf.recipes.early_checks import check_files
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import is_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import check_inputs_outside, make_folder
from rlhf.runtime.printing import plain_console
from rlhf.runtime.run_folder import CONFIG, RunConfig, check_own_folder
from rlhf.runtime.run_lock import check_not_locked, locked

if TYPE_CHECKING:
    from rlhf.pipeline.compare.analysis import Comparison
    from rlhf.pipeline.compare.points import Numbers
    from rlhf.pipeline.compare.training import Trained

RECORDED_KEYS = (
    *("model_name_or_path", "labels", "prompts", "heldout_prompts", "judge", "seeds"),
    *("budget_responses", "budget_seconds", "num_generations", "temperature"),
)

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.


def main() -> None:
    """Check all inputs, train, evaluate, compare, write."""
    run_config, config = parse_config(RunConfig, CompareConfig, description=__doc__)
    if not is_main_process():
        return  # each stage starts its own processes
    folder = Path(run_config.output_dir)
    writes_to(folder)
    check_own_folder(folder)
    check_not_locked(folder)
    check_files(config.labels, config.prompts, config.heldout_prompts, config.normalization_data)
    from rlhf.pipeline.compare.check import check_inputs
    from rlhf.pipeline.compare.plan import check_memory, lines

    checked = check_inputs(run_config, config)
    if run_config.dry_run:
        print_once(f"would run in {folder}:", *lines(config, checked))
        return
    if not run_config.skip_plan:
        print_once(*check_memory(config, checked))
    stop_on_sigterm()
    make_folder(folder)
    with locked(folder):
        if run_config.overwrite:
            delete_stages(folder, config)
        write_atomically(folder / CONFIG, as_yaml(run_config, config))
        summarize(folder, run_and_compare(run_config, config))


def run_and_compare(run_config: RunConfig, config: CompareConfig) -> Comparison:
    """Complete all stages and write the results."""
    from rlhf.pipeline.compare.evaluation import evaluation_stage, jobs_of
    from rlhf.pipeline.compare.training import train_all

    trained = train_all(run_config, config, print_once)
    jobs = jobs_of(run_config, config, [each.run for each in trained])
    run_stage(evaluation_stage(run_config, config, jobs), print_once)
    comparison, sft = analyse(run_config, config, trained)
    write(run_config, config, comparison, sft)
    return comparison


def analyse(
    run_config: RunConfig, config: CompareConfig, trained: list[Trained]
) -> tuple[Comparison, Numbers]:
    """The comparison of the evaluated runs, and the numbers of the SFT model."""
    from rlhf.pipeline.compare.analysis import compare
    from rlhf.pipeline.compare.cost import cost_of, label_tokens, token_counter
    from rlhf.pipeline.compare.points import read_points
    from rlhf.pipeline.compare.runs import LABELS, RANKINGS

    count = token_counter(config.model_name_or_path, config.chat_template)
    labels = label_tokens(Path(run_config.output_dir) / LABELS / RANKINGS, count)
    runs = [(each.run, cost_of(each.run, each.parsed, labels, count)) for each in trained]
    points, sft = read_points(run_config, config, runs)
    return compare(points), sft


def write(
    run_config: RunConfig, config: CompareConfig, comparison: Comparison, sft: Numbers
) -> None:
    """Write compare.json, compare.md, compare.svg and compare.html."""
    from rlhf.pipeline.compare.results import content_of, write_results
    from rlhf.pipeline.compare.verdict import sentences
    from rlhf.report.comparison import write_page

    folder = Path(run_config.output_dir)
    judge = Path(config.judge).name
    verdict = sentences(comparison, judge=judge, num_seeds=len(config.seeds))
    provenance = {key: getattr(config, key) for key in RECORDED_KEYS}
    provenance |= {"judge_name": judge, "num_prompts": sft.wins.shape[0]}
    content = content_of(comparison, sft, verdict, provenance)
    write_results(folder, content, comparison)
    write_page(folder, content)


def delete_stages(folder: Path, config: CompareConfig) -> None:
    """Delete the stages and evaluations of an earlier comparison; other folders stay."""
    stages = [path.parent for path in folder.glob("**/stage.json") if read_stage(path.parent)]
    for stage in stages:
        check_not_locked(stage)
        check_inputs_outside(stage, config)
    runs = [stage.parent if stage.name == "train" else stage for stage in stages]
    evaluations = [path.parent for path in folder.glob("*/evaluation/inputs.json")]
    for path in (*runs, *evaluations):
        shutil.rmtree(path, ignore_errors=True)  # some are inside of others


def summarize(folder: Path, comparison: Comparison) -> None:
    """Print the table, the cost of each run, the verdict, and where the files are."""
    import json

    from rlhf.pipeline.compare.results import JSON, RUN_HEAD, rows_of, run_rows

    table = Table(title="held-out prompts, with 95% intervals", title_justify="left")
    for name in ("method", "strength", "win rate", "KL, nats", "reward", ""):
        table.add_column(name, overflow="fold")
    for row in rows_of(comparison):
        table.add_row(*row[:5], row[-1])
    cost = Table(title="cost", title_justify="left")
    for name in (RUN_HEAD[0], *RUN_HEAD[3:]):
        cost.add_column(name, justify="left" if name == RUN_HEAD[0] else "right", overflow="fold")
    for row in run_rows(comparison):
        cost.add_row(row[0], *row[3:])
    console = plain_console()
    console.print(table)
    console.print(cost)
    content = json.loads((folder / JSON).read_text(encoding="utf-8"))
    print_once(*content["verdict"], f"page:     {folder / 'compare.html'}")


if __name__ == "__main__":
    run(main, name="rlhf compare")
