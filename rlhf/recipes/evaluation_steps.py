"""The steps of `rlhf evaluate` once its keys are checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.contamination import ContaminationReport, check_contamination
from rlhf.evaluation.core.metrics import all_metrics
from rlhf.evaluation.core.record_journal import delete_journals
from rlhf.evaluation.core.results import print_table
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.evaluation import Evaluation, provenance_of
from rlhf.evaluation.judges.human import collect_human_labels
from rlhf.evaluation.judges.remote import RemoteJudge, adapt_to_server, judge_of
from rlhf.evaluation.judges.scoring import ScoringJudge, judges_of_config
from rlhf.evaluation.plan import plan
from rlhf.evaluation.resume import check_resumed_keys
from rlhf.evaluation.run import (
    PromptSet,
    check_sampling,
    choose_rows,
    collect_records,
    load_rows,
    metric_spec,
)
from rlhf.evaluation.studies.check import check_sources
from rlhf.evaluation.studies.context import StudyContext
from rlhf.evaluation.studies.run import StudyResults, run_studies
from rlhf.manifest import DataUse
from rlhf.models.context_length import beyond_training
from rlhf.report.write import write_report
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.run_folder import EVALUATION_JOURNALS, RunConfig, begin_run, open_run_folder
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What an evaluation needs, once it is checked."""

    rows: Sequence[PromptRow]  # the evaluated prompts
    use: DataUse  # of the file of prompts
    judges: Sequence[ScoringJudge]
    remote: RemoteJudge | None  # the LLM judge behind an address
    contamination: ContaminationReport


def evaluate(run_config: RunConfig, config: EvaluateConfig, study: StudyConfig) -> None:
    """Check, sample, judge, write.

    Args:
        run_config: the run folder and how the run starts.
        config: models, prompts, judges and sampling.
        study: further comparisons and measurements.

    Raises:
        RLHFError: as the functions that it calls.
    """
    if run_config.skip_plan:
        raise ConfigError(
            "skip_plan has no effect on an evaluation, which is not planned; leave it out.",
            code="key-conflict",
        )
    begin_run(run_config, continues=EVALUATION_JOURNALS)
    on_main_process(lambda: check_resumed_keys(run_config, config, study))
    folder, seed = Path(run_config.output_dir), run_config.seed

    checked = check(config, study, folder, seed)
    print_once(f"{len(checked.rows)} held-out prompts, {checked.contamination.summary}")
    if run_config.dry_run:
        print_once(*plan(config, study, len(checked.rows)))
        return
    on_main_process(
        lambda: open_run_folder(run_config, config, study, continues=EVALUATION_JOURNALS)
    )
    replaces = run_config.overwrite or run_config.resume_from_checkpoint is not None
    context = sample_and_judge(checked, config, study, folder, seed, replaces=replaces)
    studies = run_studies(context, checked.remote)
    on_main_process(lambda: write(context, studies, checked))
    delete_journals(folder)


def check(config: EvaluateConfig, study: StudyConfig, folder: Path, seed: int) -> Checked:
    """Load the prompts and the judges, and check everything that the run reads or asks.

    Raises:
        RLHFError: as the functions that it calls.
    """
    limits = (config.max_prompt_length, config.max_completion_length)
    for path in config.loaded_paths.values():
        print_once(*beyond_training(path, sum(limits), limits))
    judges = judges_of_config(config)
    loaded = load_rows(config.eval_data, config, judges, folder)
    check_sources(study)
    remote = judge_of(study)
    remote = adapt_to_server(remote, print_once) if remote else None
    rows = choose_rows(loaded.rows, config, seed)
    if study.answers is None:
        check_sampling(config, rows[0])
    contamination = check_contamination(rows, config.train_data)
    return Checked(
        rows=rows, use=loaded.use, judges=judges, remote=remote, contamination=contamination
    )


def sample_and_judge(
    checked: Checked,
    config: EvaluateConfig,
    study: StudyConfig,
    folder: Path,
    seed: int,
    *,
    replaces: bool = False,
) -> StudyContext:
    """The responses with their scores, as the studies see them; complete on every process.

    `replaces` is that of `collect_records`.
    """
    prompts = PromptSet(rows=checked.rows, config=config, seed=seed)
    records = collect_records(
        prompts,
        checked.judges,
        print_once,
        folder=folder,
        earlier=study.answers,
        replaces=replaces,
    )
    return StudyContext(
        config=config,
        study=study,
        spec=metric_spec(prompts, checked.judges, checked.contamination),
        judges=checked.judges,
        rows=checked.rows,
        records=records,
        folder=folder,
        log=print_once,
    )


def write(context: StudyContext, studies: StudyResults, checked: Checked) -> None:
    """Compute the metrics, write evaluation.json and the report, print the tables."""
    config, rows, records, spec = context.config, context.rows, context.records, context.spec
    labels = collect_human_labels(
        context.folder, rows, records, spec, context.study, print_once, studies.verdicts
    )
    evaluation = Evaluation(
        rows=rows,
        records=records,
        spec=spec,
        contamination=checked.contamination,
        results=[*all_metrics(records, spec), *studies.results, *labels],
        content={**provenance_of(config, spec.seed, checked.use), **studies.content},
        num_examples=config.num_examples,
    )
    evaluation.write(context.folder)
    print_table(evaluation.results, list(config.model_paths), evaluation.title)
    print_once(f"report: {write_report(context.folder)}")
