"""The labels of a comparison: one split for all methods, and the reward model's gate."""

import json
from pathlib import Path
from typing import cast

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.data.rows.split import split_by_prompt
from rlhf.errors import TrainingError
from rlhf.evaluation.reward_model.gate import FAIL, GATE, PASS
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.runs import HELD_OUT_RANKINGS, LABELS, RANKINGS
from rlhf.pipeline.config import key_values
from rlhf.pipeline.fingerprint import fingerprint, settings_of
from rlhf.pipeline.label_stage import rows_of_rankings, write_rows
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.distributed import print_once
from rlhf.runtime.run_folder import RunConfig


def label_stage(run_config: RunConfig, config: CompareConfig) -> Stage:
    """A file of labels -> labels/rankings_{train,heldout}.jsonl, split by prompt.

    All methods train on the same rows, so a held-out prompt is new to each of them.
    """
    folder = Path(run_config.output_dir) / LABELS
    settings = {
        "seed": run_config.seed,
        "label_eval_fraction": config.label_eval_fraction,
        "score_columns": score_columns(config),
        "drop_bad_rows": config.drop_bad_rows,
    }
    return Stage(
        name=LABELS,
        folder=folder,
        inputs=fingerprint(settings, {"labels": config.labels}),
        steps=[Step(name="split", run=lambda: _split(folder, run_config, config))],
        makes=(RANKINGS, HELD_OUT_RANKINGS),
    )


def score_columns(config: CompareConfig) -> ScoreColumns:
    """The use of score_chosen and score_rejected, from the reward model's file or keys."""
    keys = key_values("reward_model_keys", config.reward_model_keys)
    settings = settings_of(config.reward_model_config, keys)
    return cast(ScoreColumns, settings.get("score_columns", "reject"))


def pass_gate(folder: Path, *, skip: bool) -> None:
    """Stop before any policy is trained if the gate of the reward model fails.

    Raises:
        TrainingError: the gate's verdict is fail, and `skip` is not set.
    """
    gate = json.loads((folder / GATE).read_text(encoding="utf-8"))
    reasons = "; ".join(gate["reasons"])
    if gate["verdict"] == FAIL and not skip:
        raise TrainingError(
            f"the reward model did not pass the gate: {reasons}. Collect more or cleaner labels, "
            "use a larger model, or continue with --skip_gate.",
            code="gate-failed",
        )
    if gate["verdict"] != PASS:
        print_once(f"reward model: {gate['verdict']}: {reasons}")


def _split(folder: Path, run_config: RunConfig, config: CompareConfig) -> int:
    """Write the two files; the exit status of a step."""
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        rows = load_rankings(
            config.labels, bad_rows=bad_rows, keep_tied=True, scores=score_columns(config)
        ).rows
    train, held_out = split_by_prompt(rows, config.label_eval_fraction, run_config.seed)
    write_rows(folder / RANKINGS, rows_of_rankings(train))
    write_rows(folder / HELD_OUT_RANKINGS, rows_of_rankings(held_out))
    print_once(f"labels: {len(train)} rankings to train on, {len(held_out)} held out")
    return 0
