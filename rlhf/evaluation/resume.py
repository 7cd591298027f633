"""Whether a resumed evaluation may replace the results in its folder."""

from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.results import EVALUATION
from rlhf.evaluation.core.study_config import HUMAN, StudyConfig
from rlhf.rollouts.config import OF_A_SERVER
from rlhf.runtime.config import as_dict, read_yaml
from rlhf.runtime.config_keys import keys_of
from rlhf.runtime.run_folder import CONFIG, RunConfig

# Keys that change no result, or only where rows come from and which of them are shown.
WITHOUT_EFFECT = (
    *("answers", "per_device_eval_batch_size", "num_examples", "drop_bad_rows", "human_store"),
    *OF_A_SERVER,
)
# Judges, axes and training files add results, and so do the keys of studies: they may be set later
# if they were not set before.
ADDED = ("gold", "axes", "reward_model", "train_data")


def check_resumed_keys(run_config: RunConfig, config: EvaluateConfig, study: StudyConfig) -> None:
    """Check that a resumed evaluation has the keys of the results in `output_dir`, or more judges.

    An evaluation without results may be resumed with any keys: nothing is lost. Call it on one
    process.

    Raises:
        ConfigError: a key differs, so results would be replaced.
    """
    folder = Path(run_config.output_dir)
    has_results = (folder / EVALUATION).is_file() and (folder / CONFIG).is_file()
    if not (run_config.resume_from_checkpoint and has_results):
        return
    study_defaults = {key.name: key.default for key in keys_of(StudyConfig)}
    defaults = study_defaults | {key.name: key.default for key in keys_of(EvaluateConfig)}
    before = defaults | read_yaml(folder / CONFIG)
    now = as_dict(config, study) | {"seed": run_config.seed}
    changes = [
        f"{key} was {before.get(key)!r} and is {value!r}"
        for key, value in now.items()
        if key not in WITHOUT_EFFECT
        and value != before.get(key)
        and not ((key in ADDED or key in study_defaults) and before.get(key) == defaults[key])
        and not (key == "judge" and before.get(key) == [HUMAN])  # human+llm has its results too
    ]
    if changes:
        raise ConfigError(
            f"output_dir {folder} has the results of an evaluation with other keys "
            f"({'; '.join(changes)}), which this one would replace; name another output_dir, or "
            "replace them with --overwrite instead of --resume_from_checkpoint.",
            code="other-run",
        )
