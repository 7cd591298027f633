"""The whole pipeline: SFT, K responses per prompt, labels, reward model, PPO, evaluation, report.

    rlhf align --config recipes/pocket/align.yaml
    rlhf align --config runs/pocket/config.yaml --continue

One process runs the pipeline; num_processes sets the number of processes of each stage. The same
command resumes an interrupted pipeline and skips completed stages. A stage whose inputs changed
runs again, and its old folder is renamed to NAME.old-N. With `--rounds N`, or `--continue` for one
more, the new policy answers new prompts, and all labels so far train the next one in round-N/.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import stop_on_sigterm
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.rounds import round_stages
from rlhf.pipeline.rounds_config import RoundsConfig, settled_rounds
from rlhf.pipeline.runner import read_stage
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import is_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import check_inputs_outside, make_folder
from rlhf.runtime.printing import plain_console, rlhf_command
from rlhf.runtime.run_folder import CONFIG, RunConfig, check_own_folder, check_upload
from rlhf.runtime.run_lock import check_not_locked, locked

if TYPE_CHECKING:
    from rlhf.pipeline.round_comparison import Interval
    from rlhf.pipeline.round_results import RoundResults

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.

FOLDERS = ("sft", "labels", "reward_model", "ppo", "evaluation")
IDENTIFYING_FIELDS = ("baseline", "judge", "judge_source", "axis", "precision")
SUMMARY = ("win_rate", "score", "axis", "kl", "length", "eos_rate", "distinct_2")


def main() -> None:
    """Check all inputs, then run the stages in order."""
    classes = (RunConfig, AlignConfig, RoundsConfig)
    run_config, config, rounds = parse_config(*classes, description=__doc__)
    if not is_main_process():
        return  # each stage starts its own processes
    folder = Path(run_config.output_dir)
    writes_to(folder)
    check_own_folder(folder)
    check_not_locked(folder)
    check_upload(run_config.push_to_hub)
    rounds = settled_rounds(run_config, rounds)
    from rlhf.pipeline.rounds_check import check_rounds, plan_rounds
    from rlhf.pipeline.stages import process_note, processes

    checked = check_rounds(run_config, config, rounds)
    print_once(*process_note(config))
    if run_config.dry_run:
        print_once(
            f"would run in {folder} on {processes(config)} process(es):",
            *plan_rounds(config, rounds, checked),
        )
        return
    from rlhf.pipeline.chat_votes import votes_store
    from rlhf.pipeline.round_results import ROUNDS
    from rlhf.pipeline.run_rounds import run_rounds
    from rlhf.report.write import write_report

    stop_on_sigterm()
    make_folder(folder)
    with locked(folder):
        if run_config.overwrite:
            delete_stages(folder, config)
        # The run has this number of rounds: repeating it must not add another one.
        settled = replace(rounds, continue_rounds=False)
        write_atomically(folder / CONFIG, as_yaml(run_config, config, settled))
        (folder / ROUNDS).unlink(missing_ok=True)  # of an earlier run; made again from its stages
        results = run_rounds(run_config, config, rounds)
        report = write_report(folder)
    store = votes_store(run_config.output_dir, rounds)
    if results is None:
        summarize(folder, report, store)
    else:
        summarize_rounds(folder, report, results, store)


def delete_stages(folder: Path, config: AlignConfig) -> None:
    """Delete the stages of an earlier pipeline run; other folders with these names stay."""
    stages = [folder / name for name in FOLDERS if read_stage(folder / name)]
    stages += round_stages(folder)
    for stage in stages:
        check_not_locked(stage)
        check_inputs_outside(stage, config)
    for stage in stages:
        shutil.rmtree(stage)


def summarize(folder: Path, report: Path, store: str) -> None:
    """Print the results of SFT and PPO, and where the files are."""
    from rlhf.evaluation.core.results import CAPTION, add_rows, find, read_results, row_label

    results = read_results(folder / "evaluation")
    title = "before and after, with 95% intervals"
    table = Table("held-out prompts", "sft", "ppo", title=title, caption=CAPTION)
    for result in results:
        is_overall = result.subset is None and result.with_contaminated
        if result.model == "ppo" and is_overall and result.metric in SUMMARY:
            fields = {key: getattr(result, key) for key in IDENTIFYING_FIELDS}
            before = find(results, result.metric, "sft", **fields)
            add_rows(table, row_label(result), [before, result])
    plain_console().print(table)
    print_once(
        f"report:   {report}",
        f"samples:  {folder / 'evaluation' / 'samples'}",
        f"model:    {folder / 'ppo'}",
        *next_steps(folder, folder / "ppo", store),
    )


def summarize_rounds(folder: Path, report: Path, results: RoundResults, store: str) -> None:
    """Print the results of each round, the policy to use, and how to continue."""
    from rlhf.evaluation.core.results import CAPTION, detects_text

    table = Table(title="rounds, on held-out prompts", caption=CAPTION)
    for name in ("round", "new labels", "proxy", "gold", "gap", "against the best before"):
        table.add_column(name, justify="left" if name == "round" else "right")
    for each in results.rounds:
        comparison = each.comparison
        rate = comparison.win_rate if comparison else None
        against = "" if comparison is None else f"round {comparison.against}: "
        table.add_row(
            str(each.round),
            str(each.new_rankings),
            interval_text(each.proxy),
            interval_text(each.gold),
            interval_text(each.gap),
            against + interval_text(rate),
        )
        figures = (each.proxy, each.gold, each.gap, rate)
        detects = (detects_text(one.mde if one else None) for one in figures)
        table.add_row("  detects", "", *detects)
    plain_console().print(table)
    policy = folder / results.rounds[results.best - 1].folder / "ppo"
    print_once(
        "win rates of the round's policy against SFT by its reward model (proxy) and by gold",
        f"report:   {report}",
        f"model:    {policy} (round {results.best})",
        *next_steps(folder, policy, store),
    )


def next_steps(folder: Path, policy: Path, store: str) -> list[str]:
    """The commands that chat with a policy, and that train on the votes of the chat."""
    return [
        f"next:     {rlhf_command('chat', policy, '--store', store)}",
        f"then:     {rlhf_command('align', '--config', folder / CONFIG, '--continue')}",
    ]


def interval_text(interval: Interval | None) -> str:
    """`0.73 [0.70,0.76]`, or a dash."""
    if interval is None:
        return "–"
    # Never -0.00.
    value, low, high = (round(x, 2) + 0.0 for x in (interval.value, interval.low, interval.high))
    return f"{value:.2f} [{low:.2f},{high:.2f}]"


if __name__ == "__main__":
    run(main, name="rlhf align")
