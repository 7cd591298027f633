"""Compare models on held-out prompts: win rates, KL, length, diversity, with 95% intervals.

    accelerate launch --config_file accelerate_config.yaml recipes/evaluate.py \\
        --config recipes/pocket/evaluate.yaml

Writes evaluation.json, answers.jsonl, samples/ and report.html into output_dir.
"""

from pathlib import Path

from accelerate import PartialState

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
from rlhf.launch import quiet_logs, run, start_processes
from rlhf.models.positions import check_positions
from rlhf.report.write import write_report
from rlhf.run_folder import RunConfig, claim_run_folder, open_run_folder


def main() -> None:
    """Check, sample, judge, write."""
    run_config, config = parse_config(RunConfig, EvaluateConfig, description=__doc__)
    refuse_what_means_nothing(run_config)
    start_processes(run_config.cpu_threads)
    quiet_logs()
    state = PartialState()
    folder, seed = Path(run_config.output_dir), run_config.seed
    if state.is_main_process:
        claim_run_folder(run_config)
    state.wait_for_everyone()

    longest = config.max_prompt_length + config.max_completion_length
    for path in config.model_paths.values():
        for sentence in check_positions(path, longest):
            state.print(sentence)
    loaded = load_rows(config, folder)
    rows = choose_rows(loaded.rows, config, seed)
    if run_config.dry_run:
        answers = len(rows) * config.num_generations
        state.print(f"{len(config.models)} models x {answers} answers to {len(rows)} prompts")
        return
    if state.is_main_process:
        open_run_folder(run_config, config)

    records = collect_records(rows, config, seed, state.print)
    if not state.is_main_process:
        return
    provenance = provenance_of(config, seed, loaded.use)
    results = write_evaluation(folder, rows, records, config, seed, provenance)
    print_table(results, list(config.model_paths), f"{len(rows)} held-out prompts")
    print(f"report: {write_report(folder)}")


def refuse_what_means_nothing(run_config: RunConfig) -> None:
    """An evaluation makes no model and logs no steps."""
    for key in ("push_to_hub", "report_to"):
        if getattr(run_config, key):
            raise ConfigError(f"{key} means nothing to an evaluation; leave it out.")


if __name__ == "__main__":
    run(main)
