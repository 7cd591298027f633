"""Compare models on held-out prompts: win rates, KL, length, diversity, with 95% intervals.

    accelerate launch --config_file accelerate_config.yaml recipes/evaluate.py \\
        --config recipes/pocket/evaluate.yaml

Writes evaluation.json, answers.jsonl, samples/ and report.html into output_dir.
"""

from pathlib import Path

from rlhf.config import parse_config
from rlhf.errors import ConfigError
from rlhf.evaluation.config import EvaluateConfig
from rlhf.evaluation.results import print_table
from rlhf.evaluation.run import (
    choose_rows,
    collect_records,
    load_rows,
    provenance_of,
    write_evaluation,
)
from rlhf.launch import on_main_process, run, say
from rlhf.models.positions import beyond_training
from rlhf.report.write import write_report
from rlhf.run_folder import RunConfig, begin_run, open_run_folder


def main() -> None:
    """Check, sample, judge, write."""
    run_config, config = parse_config(RunConfig, EvaluateConfig, description=__doc__)
    refuse_what_means_nothing(run_config)
    begin_run(run_config)
    folder, seed = Path(run_config.output_dir), run_config.seed
    longest = config.max_prompt_length + config.max_completion_length
    for path in config.model_paths.values():
        say(*beyond_training(path, longest))
    loaded = load_rows(config, folder)
    rows = choose_rows(loaded.rows, config, seed)
    if run_config.dry_run:
        answers = len(rows) * config.num_generations
        say(f"{len(config.models)} models x {answers} answers to {len(rows)} prompts")
        return

    on_main_process(lambda: open_run_folder(run_config, config))
    records = collect_records(rows, config, seed, say)

    def save() -> None:
        provenance = provenance_of(config, seed, loaded.use)
        results = write_evaluation(folder, rows, records, config, seed, provenance)
        print_table(results, list(config.model_paths), f"{len(rows)} held-out prompts")
        say(f"report: {write_report(folder)}")

    on_main_process(save)


def refuse_what_means_nothing(run_config: RunConfig) -> None:
    """An evaluation makes no model and logs no steps."""
    for key in ("push_to_hub", "report_to"):
        if getattr(run_config, key):
            raise ConfigError(f"{key} means nothing to an evaluation; leave it out.")


if __name__ == "__main__":
    run(main)
