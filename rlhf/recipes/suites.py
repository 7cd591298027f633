"""Run suites: prompts with checks and figures in a folder, and a test of regressions.

    rlhf evaluate --suite recipes/suites --models runs/ppo --output_dir OUT --baseline runs/last

A suite is a folder with suite.yaml and its prompts. Writes evaluation.json, suite_answers.jsonl and
report.html into output_dir. The same command continues an interrupted run. Exit status 1 if a
figure is worse than in baseline, the output_dir of an earlier run, by more than chance explains.
"""

from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.evaluation.suites.config import SuiteConfig
from rlhf.evaluation.suites.suite import find_suites
from rlhf.runtime.config import parse_config
from rlhf.runtime.run_folder import RunConfig


def main() -> None:
    """Check, sample, score, write, compare."""
    run_config, config = parse_config(RunConfig, SuiteConfig, description=__doc__)
    check_keys(run_config, config)
    suites = find_suites(config.suite, config.only, config.prompt_files)
    # This loads torch and transformers, which takes seconds: mistakes in keys are reported before.
    from rlhf.recipes.suite_steps import evaluate_suites

    evaluate_suites(run_config, config, suites)


def check_keys(run_config: RunConfig, config: SuiteConfig) -> None:
    """Check that no key of a training run is set, and that the baseline is another folder.

    Raises:
        ConfigError: one of these.
    """
    for key in ("push_to_hub", "report_to", "skip_plan", "resume_from_checkpoint"):
        if getattr(run_config, key):
            raise ConfigError(
                f"{key} has no effect on a run of suites; leave it out.", code="key-conflict"
            )
    same = config.baseline is not None and (
        Path(config.baseline).resolve() == Path(run_config.output_dir).resolve()
    )
    if same:
        raise ConfigError(
            f"baseline and output_dir are both {config.baseline}; name another output_dir.",
            code="key-conflict",
        )
