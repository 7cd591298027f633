"""Compare models on held-out prompts: win rates, KL, length, diversity, with 95% intervals.

    accelerate launch --config_file accelerate_config.yaml recipes/evaluate.py \\
        --config recipes/pocket/evaluate.yaml

Writes evaluation.json, answers.jsonl, samples/ and report.html into output_dir.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlhf.data.files.read import read_rows
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import PEOPLE, Result, print_table
from rlhf.evaluation.core.study_config import StudyConfig, check_studies
from rlhf.evaluation.judges.human import put_pairs, read_labels
from rlhf.evaluation.judges.llm import is_address
from rlhf.evaluation.judges.pairwise_metrics import HUMAN, as_results, pairs_of, pairwise_metrics
from rlhf.evaluation.judges.remote import judge_of, settled
from rlhf.evaluation.judges.requests import check_address
from rlhf.evaluation.plan import plan
from rlhf.evaluation.run import (
    choose_rows,
    collect_records,
    find_leaks,
    load_rows,
    provenance_of,
    question_of,
    write_evaluation,
)
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.evaluation.studies.lm_eval import check_tasks
from rlhf.evaluation.studies.run import run_studies
from rlhf.labels.store import LabelStore
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.context_length import beyond_training
from rlhf.report.write import write_report
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import rlhf_command
from rlhf.runtime.run_folder import RunConfig, begin_run, open_run_folder
from rlhf.types import PromptRow


def main() -> None:
    """Check, sample, judge, write."""
    run_config, config, study = parse_config(
        RunConfig, EvaluateConfig, StudyConfig, description=__doc__
    )
    check_keys(run_config)
    check_studies(config, study)
    begin_run(run_config)
    folder, seed = Path(run_config.output_dir), run_config.seed
    longest = config.max_prompt_length + config.max_completion_length
    for path in config.model_paths.values():
        print_once(*beyond_training(path, longest))
    loaded = load_rows(config, folder)
    check_sources(study)
    remote = judge_of(study)
    remote = settled(remote, print_once) if remote else None
    rows = choose_rows(loaded.rows, config, seed)
    leaks = find_leaks(rows, config)
    print_once(f"{len(rows)} held-out prompts, {leaks.says}")
    if run_config.dry_run:
        print_once(*plan(config, study, len(rows)))
        return

    on_main_process(lambda: open_run_folder(run_config, config, study))
    records = collect_records(rows, config, seed, print_once, folder, study.answers)
    question = question_of(rows, config, seed, leaks)
    studied = run_studies(rows, records, question, config, study, remote, print_once)

    def save() -> None:
        more = [*studied.results, *collect_human_labels(folder, rows, records, question, study)]
        content: dict[str, Any] = {**provenance_of(config, seed, loaded.use), **studied.content}
        results = write_evaluation(
            folder, rows, records, question, leaks, more, content, config.num_examples
        )
        print_table(results, list(config.model_paths), f"{len(rows)} held-out prompts")
        print_once(f"report: {write_report(folder)}")

    on_main_process(save)


def check_keys(run_config: RunConfig) -> None:
    """An evaluation makes no model and logs no steps."""
    for key in ("push_to_hub", "report_to"):
        if getattr(run_config, key):
            raise ConfigError(f"{key} means nothing to an evaluation; leave it out.")


def check_sources(study: StudyConfig) -> None:
    """Files, models and packages of the studies, before a weight is loaded.

    Raises:
        DataError, CheckpointError, ConfigError: what is not there.
    """
    for source in (study.tax_data, study.human_gold):
        if source is not None:
            next(read_rows(source), None)
    if study.llm_judge is not None and is_address(study.llm_judge):
        check_address(study.llm_judge)
    elif study.llm_judge is not None:
        load_checked_tokenizer(study.llm_judge, "auto")
    if study.frontier is not None and not steps_of_run(Path(study.frontier)):
        raise ConfigError(
            f"frontier {study.frontier} holds no checkpoint-N and no model; name a PPO run's "
            "output_dir, and keep more checkpoints there with save_steps and save_total_limit."
        )
    if study.lm_eval:
        check_tasks(study.lm_eval, study.lm_eval_include)


def collect_human_labels(
    folder: Path,
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    question: MetricSpec,
    study: StudyConfig,
) -> list[Result]:
    """Pairs into the label store, figures of the labels that stand there, and what to do next."""
    if "human" not in study.judge:
        return []
    pairs = pairs_of(records, question, per_prompt=study.pairs_per_prompt, baselines=False)
    path = study.human_store or str(folder / "human.sqlite")
    with LabelStore(path, create=True) as store:
        put_pairs(store, pairs, rows, study.human_gold)
        said = read_labels(store, pairs, rows)
    asked = said.unlabelled + sum(one.pair.ours != one.pair.theirs for one in said.compared)
    print_once(f"people: {asked - said.unlabelled} of {asked} pairs are labelled in {path}")
    if said.unlabelled:
        gold = ("--gold_rate", "0.1") if study.human_gold else ()
        serve = ("label", "serve", "--store", path, *gold, "--repeat_rate", "0.1")
        print_once(
            f"have them compared: {rlhf_command(*serve, '--annotators', 'NAME')}",
            f"then the same command again with --answers {folder}/answers.jsonl "
            "--resume_from_checkpoint latest",
        )
    if asked == said.unlabelled:
        return []
    figures = pairwise_metrics(said.compared, HUMAN, question)
    return figures + as_results(said.health, PEOPLE, HUMAN)


if __name__ == "__main__":
    run(main)
