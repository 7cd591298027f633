"""Check the files, models and packages of the studies before any weights are loaded."""

from pathlib import Path

from rlhf.data.files.read import read_rows
from rlhf.errors import ConfigError
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.llm import is_address
from rlhf.evaluation.judges.requests import check_address
from rlhf.evaluation.judges.votes import read_groups
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.evaluation.studies.lm_eval import check_tasks
from rlhf.models.compatibility import load_checked_tokenizer


def check_sources(study: StudyConfig) -> None:
    """Check that everything that the studies need exists.

    Raises:
        DataError: a data file that does not exist, or a file of groups that cannot be used.
        CheckpointError: a judge that does not exist.
        ConfigError: a run without checkpoints, a server that does not reply, a missing package or
            task.
    """
    for source in (study.tax_data, study.human_gold):
        if source is not None:
            next(read_rows(source), None)
    if study.annotator_groups is not None:
        read_groups(study.annotator_groups)
    if study.llm_judge is not None and is_address(study.llm_judge):
        check_address(study.llm_judge)
    elif study.llm_judge is not None:
        load_checked_tokenizer(study.llm_judge, "auto")
    if study.frontier is not None and not steps_of_run(Path(study.frontier)):
        raise ConfigError(
            f"frontier={study.frontier} has no checkpoint-N and no model; set it to the output_dir "
            "of a PPO run, and keep more checkpoints there with save_steps and save_total_limit.",
            code="no-checkpoint",
        )
    if study.lm_eval:
        check_tasks(study.lm_eval, study.lm_eval_include)
