"""Benchmarks of others: hands a checkpoint to lm-evaluation-harness and keeps what it says."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.bootstrap import Estimate
from rlhf.evaluation.results import Result, result_of

METRIC = "lm_eval"


def check_installed() -> None:
    """Refuse `lm_eval` where the harness is not installed.

    Raises:
        ConfigError: how to install it.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm_eval is not installed; `pip install -e '.[lm_eval]'` in the checkout, or leave "
            "lm_eval out."
        )


def benchmark_figures(
    name: str,
    path: str,
    tasks: Sequence[str],
    *,
    limit: int | None,
    batch_size: int,
    chat: bool,
    seed: int,
) -> tuple[list[Result], dict[str, Any]]:
    """Figures of every task, and what was run: versions of the tasks and their few shots.

    chat: ask in the model's chat template.

    Raises:
        TrainingError: the harness does not know a task or cannot load its data.
    """
    import lm_eval

    try:
        said: dict[str, Any] = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": path},
            tasks=list(tasks),
            limit=limit,
            batch_size=batch_size,
            apply_chat_template=chat,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except Exception as error:
        raise TrainingError(f"lm_eval {' '.join(tasks)} on {path}: {error}") from error
    found = [
        result
        for task, values in said["results"].items()
        for result in _of_task(name, task, values, said.get("n-samples", {}).get(task, {}))
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
