"""Benchmarks: run lm-evaluation-harness on a model and convert its results."""

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.stats.bootstrap import Estimate

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

METRIC = "lm_eval"


def check_tasks(tasks: Sequence[str], include: str | None) -> None:
    """Check that the harness is installed and has these tasks.

    Args:
        tasks: names of tasks.
        include: a folder of your own tasks, the harness's --include_path.

    Raises:
        ConfigError: the harness is not installed, the folder does not exist, or a task is unknown.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm_eval is not installed; run `pip install 'rlhf[lm_eval]'`, or leave lm_eval out.",
            code="missing-package",
        )
    if include is not None and not Path(include).is_dir():
        raise ConfigError(
            f"lm_eval_include={include} is not a folder; set it to a folder of task files.",
            code="missing-file",
        )
    known = _manager(include).all_tasks
    for task in tasks:
        if task not in known:
            near = difflib.get_close_matches(task, known, n=1)
            raise ConfigError(
                f"lm_eval: the harness has no task {task!r}"
                + (f"; did you mean {near[0]!r}?" if near else "; `lm_eval ls tasks` lists them."),
                code="bad-value",
            )


def _manager(include: str | None) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include)


def lm_eval_metrics(
    evaluated: EvaluatedModel,
    tasks: Sequence[str],
    *,
    include: str | None,
    limit: int | None,
    batch_size: int,
    seed: int,
) -> tuple[list[Result], dict[str, object]]:
    """Results of every task, and what was run: versions of the tasks, few-shot examples.

    The harness gets the loaded model: adapters are merged, the chat template is that of this
    evaluation, and it does not communicate with other processes, which would have to wait.

    Args:
        evaluated: the model with its tokenizer.
        tasks: names of tasks.
        include: a folder of your own tasks.
        limit: questions per task, or None.
        batch_size: questions at a time.
        seed: for all random numbers of the harness.

    Raises:
        TrainingError: the harness cannot load a task's data or run the model.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    chat = not evaluated.chat.raw
    try:
        output = lm_eval.simple_evaluate(
            model=HFLM(
                pretrained=evaluated.model,
                tokenizer=evaluated.chat.tokenizer,
                batch_size=batch_size,
            ),
            tasks=list(tasks),
            task_manager=_manager(include),
            limit=limit,
            apply_chat_template=chat,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except Exception as error:
        raise TrainingError(
            f"lm_eval {' '.join(tasks)} on {evaluated.name}: {type(error).__name__}: {error}",
            code="judge-failed",
        ) from error
    results = [
        result
        for task, values in output["results"].items()
        for result in _task_results(
            evaluated.name, task, values, output.get("n-samples", {}).get(task, {})
        )
    ]
    details = {key: output.get(key) for key in ("versions", "n-shot", "n-samples")}
    harness = getattr(lm_eval, "__version__", "")
    return results, {"harness": harness, "chat_template": chat, **details}


def _task_results(
    name: str, task: str, values: Mapping[str, object], samples: Mapping[str, int]
) -> list[Result]:
    """`acc,none` with `acc_stderr,none` -> one result with an interval of 1.96 standard errors."""
    results = []
    for key, value in values.items():
        metric, _, filtered = key.partition(",")
        if not isinstance(value, int | float) or metric.endswith("_stderr") or not filtered:
            continue
        error = values.get(f"{metric}_stderr,{filtered}")
        error = float(error) if isinstance(error, int | float) else 0.0
        estimate = Estimate(
            value=float(value),
            low=float(value) - 1.96 * error,
            high=float(value) + 1.96 * error,
            n=int(samples.get("effective", 0)),
            se=error,
        )
        axis = f"{task} {metric}" + ("" if filtered == "none" else f" ({filtered})")
        results.append(result_of(estimate, METRIC, name, axis=axis))
    return results
