"""Hold every run to the same budget: responses sampled, or seconds of training steps.

A budget in seconds becomes a number of steps: a short run of each method measures the seconds of a
step. The number of steps has to be known before a run starts, because the learning rate falls over
the run. The short run is a stage: a resumed comparison takes its steps from the same measurement.
"""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rlhf.data.files.read import read_rows
from rlhf.errors import ConfigError, TrainingError
from rlhf.manifest import write_atomically
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.compare.runs import PROMPTS, Run, rounds_of, run_stage_of
from rlhf.pipeline.fingerprint import settings_of
from rlhf.pipeline.recipe_stage import RecipeStage
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.metrics import MetricsLine, read_metrics
from rlhf.training.ppo.config import PPOConfig

TIMED_STEPS = 5  # of a short run, after the warm-up of a critic and a first step
SPEED, NEVER = "speed", 1_000_000_000


def limits_of(
    run: Run, config: CompareConfig, parsed: Sequence[Any], seconds: Mapping[str, float]
) -> dict[str, object]:
    """The keys that hold a run to the budget; none without a budget that bounds it.

    Args:
        run: the run.
        config: the comparison with its budget.
        parsed: the run's configuration without a limit.
        seconds: of a step, by method; needed with budget_seconds.

    Raises:
        ConfigError: the budget is below that of one step, or of one prompt.
    """
    recipe = run.method.recipe
    if config.budget_seconds is not None and run.method.name in seconds:
        steps = int(config.budget_seconds / seconds[run.method.name])
        price = f"a step takes about {seconds[run.method.name]:.2g} s"
        return _steps(run, parsed, steps, f"budget_seconds={config.budget_seconds:g}", price)
    if config.budget_responses is None or recipe in ("dpo", "kto"):
        return {}
    if recipe == "ppo":
        each = responses_per_step(parsed[4])
        budget = f"budget_responses={config.budget_responses}"
        price = f"a step samples {each} responses"
        return _steps(run, parsed, config.budget_responses // each, budget, price)
    count = prompts_within(run, config)
    if count < 1:
        raise ConfigError(
            f"{run.name}: budget_responses={config.budget_responses} does not cover one prompt.",
            code="key-conflict",
        )
    return {}


def responses_per_step(config: PPOConfig) -> int:
    """Responses that an iteration samples, without those of dynamic_sampling."""
    greedy = config.num_prompts if config.advantage == "remax" else 0
    return config.rollout_batch_size + greedy


def prompts_within(run: Run, config: CompareConfig) -> int:
    """Prompts that rejection sampling can answer within budget_responses, in all its rounds."""
    assert config.budget_responses is not None
    keys = {**run.method.keys, run.method.swept: run.value}
    each = int(str(settings_of(run.method.config, keys).get("num_responses", 8)))
    return config.budget_responses // (each * rounds_of(run.method))


def prompts_of(run: Run, config: CompareConfig) -> dict[str, object]:
    """The key of rejection sampling's prompts, where the budget does not cover all; writes them.

    The prompts are drawn by the seed of the run and written in the order of the file.
    """
    if run.method.recipe != "rejection_sampling" or config.budget_responses is None:
        return {}
    rows = [row for _, row in read_rows(config.prompts) if isinstance(row, dict)]
    count = prompts_within(run, config)
    if count >= len(rows):
        return {}
    chosen = sorted(random.Random(run.seed).sample(range(len(rows)), count))
    path = run.folder / PROMPTS
    lines = [json.dumps(rows[index], ensure_ascii=False, default=str) for index in chosen]
    write_atomically(path, "".join(f"{line}\n" for line in lines))
    return {"train_data": str(path)}


def speed_stage(
    run: Run, run_config: RunConfig, config: CompareConfig, parsed: Sequence[Any]
) -> RecipeStage:
    """A short run of the method, next to the folders of its strengths."""
    keys: dict[str, object] = {"logging_steps": 1, "eval_steps": NEVER, "save_steps": NEVER}
    if run.method.recipe == "ppo":
        keys |= _length(parsed[4], parsed[4].critic_warmup_steps + 1 + TIMED_STEPS)
    else:
        keys |= {"max_steps": 1 + TIMED_STEPS, "num_samples": 0}
    stage = run_stage_of(run, run_config, config, keys)
    return RecipeStage(
        name=f"{run.method.name} {SPEED}",
        folder=run.folder.parents[1] / SPEED,
        recipe=stage.recipe,
        config=stage.config,
        keys=stage.keys,
        num_processes=stage.num_processes,
        makes=stage.makes,
        per_device=stage.per_device,
    )


def step_seconds(folder: Path, method: Method, parsed: Sequence[Any]) -> float:
    """Median seconds of a step of the short run in `folder`.

    Raises:
        TrainingError: the run logged too few steps.
    """
    lines = read_metrics(folder)
    if method.recipe == "ppo":
        times = _ppo_seconds(lines, parsed[4])
    else:
        times = _seconds_between([line for line in lines if "loss" in line])
    if not times:
        raise TrainingError(
            f"{folder} has no steps whose seconds were logged; delete the folder and run the same "
            "command again.",
            code="other-run",
        )
    return median(times)


def _ppo_seconds(lines: Sequence[MetricsLine], config: PPOConfig) -> list[float]:
    """Seconds of the iterations that train the policy, without the first of them."""
    rates = [
        line.get("samples_per_second")
        for line in lines
        if (line["step"] or 0) > config.critic_warmup_steps + 1
    ]
    return [config.rollout_batch_size / rate for rate in rates if rate]


def _seconds_between(lines: Sequence[MetricsLine]) -> list[float]:
    """Seconds from each logged step to the next."""
    times = [time for line in lines if (time := line.get("time")) is not None]
    return [later - earlier for earlier, later in pairwise(times)]


def _steps(
    run: Run, parsed: Sequence[Any], steps: int, budget: str, price: str
) -> dict[str, object]:
    """The keys for this number of steps."""
    least = parsed[4].critic_warmup_steps + 1 if run.method.recipe == "ppo" else 1
    if steps < least:
        raise ConfigError(
            f"{run.name}: {budget} is less than {least} steps, and {price}; raise the budget.",
            code="key-conflict",
        )
    return _length(parsed[4], steps) if run.method.recipe == "ppo" else {"max_steps": steps}


def _length(config: PPOConfig, steps: int) -> dict[str, object]:
    """PPO's length in the key that its file uses: setting both is an error."""
    if config.max_steps is not None:
        return {"max_steps": steps}
    return {"total_episodes": steps * config.rollout_batch_size}
