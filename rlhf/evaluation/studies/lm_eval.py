"""Benchmarks of others: hands a checkpoint to lm-evaluation-harness and keeps what it says."""

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.stats.bootstrap import Estimate

METRIC = "lm_eval"


def check_tasks(tasks: Sequence[str], include: str | None) -> None:
    """Refuse `lm_eval` where the harness is not installed or knows no such task.

    include: a folder of tasks of one's own, the harness's --include_path.

    Raises:
        ConfigError: how to install it; which task it does not know.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm_eval is not installed; `pip install -e '.[lm_eval]'` in the checkout, or leave "
            "lm_eval out."
        )
    if include is not None and not Path(include).is_dir():
        raise ConfigError(f"lm_eval_include {include} is no folder; name one of task files.")
    known = _manager(include).all_tasks
    for task in tasks:
        if task not in known:
            near = difflib.get_close_matches(task, known, n=1)
            raise ConfigError(
                f"lm_eval: the harness knows no task {task!r}"
                + (f"; did you mean {near[0]!r}?" if near else "; `lm_eval ls tasks` lists them.")
            )


def _manager(include: str | None) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include)


def lm_eval_metrics(
    contender: EvaluatedModel,
    tasks: Sequence[str],
    *,
    include: str | None,
    limit: int | None,
    batch_size: int,
    seed: int,
) -> tuple[list[Result], dict[str, Any]]:
    """Figures of every task, and what was run: versions of the tasks and their few shots.

    The harness gets the model as it is loaded: an adapter is merged, the chat template is the
    one of this evaluation, and it looks for no other processes, which would wait for it.

    Raises:
        TrainingError: the harness cannot load a task's data or ask the model.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    chat = not contender.chat.raw
    try:
        said: dict[str, Any] = lm_eval.simple_evaluate(
            model=HFLM(
                pretrained=contender.model,
                tokenizer=contender.chat.tokenizer,
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
        asked = f"lm_eval {' '.join(tasks)} on {contender.name}"
        raise TrainingError(f"{asked}: {type(error).__name__}: {error}") from error
    found = [
        result
        for task, values in said["results"].items()
        for result in _of_task(
            contender.name, task, values, said.get("n-samples", {}).get(task, {})
        )
    ]
    kept = {key: said.get(key) for key in ("versions", "n-shot", "n-samples")}
    return found, {"harness": getattr(lm_eval, "__version__", ""), "chat_template": chat, **kept}


def _of_task(
    name: str, task: str, values: Mapping[str, Any], samples: Mapping[str, Any]
) -> list[Result]:
    """`acc,none` with `acc_stderr,none` -> one figure with 1.96 standard errors."""
    found = []
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
        found.append(result_of(estimate, METRIC, name, axis=axis))
    return found
