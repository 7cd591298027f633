"""Compare models on held-out prompts: win rates, KL, length, diversity, with 95% intervals.

    rlhf evaluate --config recipes/pocket/evaluate.yaml

Writes evaluation.json, answers.jsonl, samples/ and report.html into output_dir. The same command
continues an interrupted evaluation.

    rlhf evaluate --suite DIR --models DIR2 --output_dir OUT --baseline EARLIER_OUT

runs suites of prompts with their own checks, and fails if a figure is worse than in an earlier run;
`rlhf evaluate --suite DIR --help` lists its keys.
"""

import sys

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.study_config import StudyConfig, check_studies
from rlhf.evaluation.suites.config import names_suite
from rlhf.recipes.early_checks import check_paths
from rlhf.runtime.config import parse_config
from rlhf.runtime.entrypoint import run
from rlhf.runtime.run_folder import EVALUATION_JOURNALS, RunConfig


def main() -> None:
    """Check, sample, judge, write."""
    if names_suite(sys.argv[1:]):
        from rlhf.recipes.suites import main as evaluate_suites

        evaluate_suites()
    else:
        compare_models()


def compare_models() -> None:
    """Compare models on held-out prompts."""
    run_config, config, study = parse_config(
        RunConfig, EvaluateConfig, StudyConfig, description=__doc__
    )
    check_keys(run_config)
    if study.plan:
        from rlhf.evaluation.power_plan import print_power_plan

        print_power_plan(study.pilot, run_config.output_dir)
        return
    check_studies(config, study)
    check_paths(run_config, config.eval_data, config.train_data, continues=EVALUATION_JOURNALS)
    # This loads torch and transformers, which takes seconds: mistakes in keys are reported before.
    from rlhf.recipes.evaluation_steps import evaluate

    evaluate(run_config, config, study)


def check_keys(run_config: RunConfig) -> None:
    """Check that no key of a training run is set: an evaluation makes no model and logs no steps.

    Raises:
        ConfigError: push_to_hub or report_to is set.
    """
    for key in ("push_to_hub", "report_to"):
        if getattr(run_config, key):
            raise ConfigError(
                f"{key} has no effect in an evaluation; leave it out.", code="key-conflict"
            )


if __name__ == "__main__":
    run(main, name="rlhf evaluate")
