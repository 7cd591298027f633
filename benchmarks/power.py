"""Whether evaluations find the differences that they are said to find.

    python -m benchmarks.power [--repetitions 500]

Prints how often an effect of the minimal detectable size is found, and the power of evaluations
that were planned from a pilot. Both have to be about 80%.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rlhf.evaluation.stats.bootstrap import mean, rate
from rlhf.evaluation.stats.power import (
    POWER,
    WinVariance,
    detectable_difference,
    prompts_needed,
    win_variance,
)

WIN_RATE = 0.6
PILOT, PILOT_RESPONSES = 200, 4
Array = NDArray[np.float64]


def power_of_mde(
    prompts: int, *, repetitions: int, responses: int = 4, seed: int = 0
) -> tuple[float, float]:
    """How often the interval of a mean score excludes 0, if the true mean is the detectable effect.

    Half of a score's variance is that of its prompt.

    Returns:
        for the effect with Student's t, and for 2.80 standard errors.
    """
    rng = np.random.default_rng(seed)
    error = float(np.sqrt((1 + 1 / responses) / prompts))
    effects = [detectable_difference(error, freedom=prompts - 1), detectable_difference(error)]
    found = []
    for number in range(repetitions):
        noise = rng.normal(size=(prompts, 1)) + rng.normal(size=(prompts, responses))
        found.append([mean((noise + each).tolist(), seed=number).low > 0 for each in effects])
    student, normal = np.mean(found, 0)
    return float(student), float(normal)


def planned_power(responses: int, *, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """Power to detect a win rate of 0.6 with the prompts that a pilot says, and their mean number.

    The model's response wins if a + b + e > f, with standard normal b of the prompt and e, f of the
    two responses. The pilot has 200 prompts with 4 responses of each model.

    responses: of each model to a prompt in the planned evaluation.
    """
    rng = np.random.default_rng(seed)
    found, planned = [], []
    for number in range(repetitions):
        variance = _pilot(rng)
        prompts = prompts_needed(variance.at(WIN_RATE).of_prompt(responses), WIN_RATE - 0.5)
        wins = _wins(rng, prompts, responses).mean((1, 2))
        found.append(rate([[float(win)] for win in wins], seed=number).low > 0.5)
        planned.append(prompts)
    return float(np.mean(found)), float(np.mean(planned))


def _pilot(rng: np.random.Generator) -> WinVariance:
    return win_variance(list(_wins(rng, PILOT, PILOT_RESPONSES)))


def _wins(rng: np.random.Generator, prompts: int, responses: int) -> Array:
    """[prompts, K, K] wins of the model's responses against the baseline's, 60% of them."""
    better = float(ndtri(WIN_RATE)) * np.sqrt(3) + rng.normal(size=(prompts, 1, 1))
    ours = better + rng.normal(size=(prompts, responses, 1))
    wins: Array = (ours > rng.normal(size=(prompts, 1, responses))).astype(np.float64)
    return wins


def main() -> None:
    """Print the power of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=500)
    repetitions = parser.parse_args().repetitions
    for prompts in (6, 10, 50):
        student, normal = power_of_mde(prompts, repetitions=repetitions)
        print(
            f"{prompts} prompts: the detectable effect is found in {student:.3f}, "
            f"2.80 standard errors in {normal:.3f}"
        )
    for responses in (1, 2, 4):
        power, prompts_planned = planned_power(responses, repetitions=repetitions)
        print(
            f"planned for {POWER:.0%} with K = {responses}: {prompts_planned:.0f} prompts, "
            f"power {power:.3f}"
        )


if __name__ == "__main__":
    main()
