"""The steps of `rlhf evaluate --suite` once its keys are checked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.evaluation.core.config import named_paths
from rlhf.evaluation.core.record_journal import delete_journals
from rlhf.evaluation.core.results import detects_text, print_table, write_results
from rlhf.evaluation.suites.answers import write_answers
from rlhf.evaluation.suites.baseline import Baseline, check_baseline, read_baseline
from rlhf.evaluation.suites.config import SuiteConfig
from rlhf.evaluation.suites.figures import gradings
from rlhf.evaluation.suites.prompts import LoadedSuite, read_prompts
from rlhf.evaluation.suites.regression import Change
from rlhf.evaluation.suites.run import (
    SuiteRun,
    check_suites,
    judge_keys,
    run_suites,
)
from rlhf.evaluation.suites.suite import Suite
from rlhf.manifest import hash_file
from rlhf.report.write import write_report
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.printing import counted, plain_console
from rlhf.runtime.run_folder import SUITE_JOURNALS, RunConfig, begin_run, open_run_folder


def evaluate_suites(run_config: RunConfig, config: SuiteConfig, suites: Sequence[Suite]) -> None:
    """Check the rows, sample, score, write, compare.

    Args:
        run_config: the run folder.
        config: models, suites and baseline.
        suites: the suites.

    Raises:
        RLHFError: as the functions that it calls; a regression after everything is written.
    """
    begin_run(run_config, continues=SUITE_JOURNALS)
    folder, seed = Path(run_config.output_dir), run_config.seed

    # Check
    baseline = read_baseline(Path(config.baseline)) if config.baseline else None
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        rows = [LoadedSuite(suite=suite, prompts=read_prompts(suite, bad_rows)) for suite in suites]
    loaded = check_suites(rows, config, seed, print_once)
    graded = gradings(suites, judge_keys(config))
    notes = _check_baseline(baseline, loaded, config, graded) if baseline is not None else []
    print_once(*notes)
    if run_config.dry_run:
        print_once(*plan(loaded, config, baseline))
        return

    # Sample and score
    on_main_process(lambda: open_run_folder(run_config, config, continues=SUITE_JOURNALS))
    run = run_suites(
        loaded,
        config,
        seed=seed,
        baseline=baseline,
        log=print_once,
        folder=folder,
        replaces=run_config.overwrite,
    )
    run = replace(run, notes=[*notes, *run.notes])

    # Write
    on_main_process(lambda: save(folder, run, loaded, config, graded, seed))
    delete_journals(folder)
    if baseline is not None:
        run.check_regressions()


def _check_baseline(
    baseline: Baseline,
    loaded: Sequence[LoadedSuite],
    config: SuiteConfig,
    graded: Mapping[str, str],
) -> list[str]:
    """What only one of the runs has; an error if they cannot be compared."""
    prompts = {one.suite.name: {prompt.key for prompt in one.prompts} for one in loaded}
    models = list(named_paths(config.models, "models"))
    return check_baseline(baseline, [one.suite for one in loaded], graded, models, prompts)


def plan(
    loaded: Sequence[LoadedSuite], config: SuiteConfig, baseline: Baseline | None
) -> list[str]:
    """A sentence about each suite, and one about the baseline."""
    lines = []
    for one in loaded:
        turns = sum(1 + len(prompt.later) for prompt in one.prompts)
        responses = turns * one.suite.num_generations * len(config.models)
        lines.append(
            f"{one.suite.name}: {counted(len(one.prompts), 'prompt')}, "
            f"{counted(responses, 'response')}, {counted(len(one.suite.figures), 'figure')}"
        )
    if baseline is not None:
        lines.append(f"compared with {baseline.folder}")
    return lines


def save(
    folder: Path,
    run: SuiteRun,
    loaded: Sequence[LoadedSuite],
    config: SuiteConfig,
    graded: Mapping[str, str],
    seed: int,
) -> None:
    """Write the answers, evaluation.json and the report; print the tables. On one process."""
    write_answers(folder, run.answers)
    content = {
        "kind": "suites",
        "models": named_paths(config.models, "models"),
        "seed": seed,
        "suites": {
            one.suite.name: {
                "prompts": len(one.prompts),
                "file": str(one.suite.prompts),
                "sha256": hash_file(one.suite.prompts),
                "sampling": one.suite.sampling,
            }
            for one in loaded
        },
        "gradings": dict(graded),
        "ungraded": dict(run.ungraded),
        "baseline_run": config.baseline,
        "changes": [asdict(change) for change in run.changes],
        "notes": list(run.notes),
    }
    write_results(folder, run.results, content)
    models = list(named_paths(config.models, "models"))
    print_table(run.results, models, ", ".join(one.suite.name for one in loaded))
    for figure, count in run.ungraded.items():
        print_once(f"{figure}: {counted(count, 'response')} without a grade, left out")
    print_once(*run.notes)
    if run.changes:
        print_changes(run.changes)
    print_once(f"report: {write_report(folder)}")


def print_changes(changes: Sequence[Change]) -> None:
    """Print the changes since the baseline."""
    caption = "intervals hold for all figures together (95%); detects: change found with 80% power"
    table = Table(title="Since the baseline", title_justify="left", caption=caption)
    for column in ("figure", "model", "before", "now", "change", "detects", ""):
        table.add_column(column)
    for one in changes:
        interval = f"{one.change:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
        mark = "worse" if one.regressed else ""
        values = (f"{one.before:.3f}", f"{one.after:.3f}", interval, detects_text(one.mde))
        table.add_row(one.figure, one.model, *values, mark)
    plain_console().print(table)
