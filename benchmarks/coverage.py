"""Coverage of the evaluation's estimators on simulated judges and annotators.

    python -m benchmarks.coverage [--repetitions 2000]

Every estimator has to cover the truth in 92 to 97% of repetitions, whatever the judge is like, and
confidence sequences at all times together in 95% or more.
"""

import argparse

from benchmarks.coverage_intervals import (
    anytime_error,
    false_discoveries,
    few_prompts_coverage,
    sequence_width,
    strength_coverage,
)
from benchmarks.coverage_length import LENGTH_JUDGES, length_case
from benchmarks.coverage_people import (
    JUDGES,
    LABELS,
    PROMPTS,
    SAMPLED_JUDGES,
    ppi_coverage,
    sampled_length_coverage,
)


def main() -> None:
    """Print all coverages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    print_people(repetitions)
    print_intervals(repetitions)
    print_length(repetitions)


def print_people(repetitions: int) -> None:
    """People on some prompts and a judge on all."""
    print(f"people on {LABELS} of {PROMPTS} prompts and a judge on all; width over people alone")
    for name, judge in JUDGES.items():
        for by_uncertainty in (False, True):
            one = ppi_coverage(judge, repetitions=repetitions, by_uncertainty=by_uncertainty)
            print(
                f"    {name:9} {'by uncertainty' if by_uncertainty else 'uniform':15} "
                f"coverage {one.combined:.3f}, people alone {one.people:.3f}, "
                f"width {one.width:.3f} on the same prompts, {one.width_uniform:.3f} on others"
            )
    for name, sampled in SAMPLED_JUDGES.items():
        for equal_length in (False, True):
            one = sampled_length_coverage(
                sampled, repetitions=repetitions, equal_length=equal_length
            )
            print(
                f"    {name:14} {'at equal length' if equal_length else 'length-controlled':17} "
                f"coverage {one.combined:.3f}, people alone {one.people:.3f}, width {one.width:.3f}"
            )


def print_intervals(repetitions: int) -> None:
    """Few prompts, strengths, many looks, many parts."""
    for prompts in (6, 10, 20, 50):
        expanded, plain = few_prompts_coverage(prompts, repetitions=repetitions)
        print(f"{prompts} prompts: coverage {expanded:.3f}, plain quantiles {plain:.3f}")
    for prompts in (6, 8, 12, 20):
        print(f"{prompts} prompts: lowest coverage of a strength {strength_coverage(prompts):.3f}")
    for truth in (0.5, 0.6, 0.9):
        betting, plain = anytime_error(truth=truth, labels=1000, repetitions=repetitions)
        print(f"looking 1000 times at {truth}: error {betting:.3f} by betting, {plain:.3f} plainly")
    for labels in (100, 1000):
        ratio = sequence_width(truth=0.6, labels=labels, repetitions=50)
        print(f"after {labels} labels a confidence sequence is {ratio:.2f} times as wide")
    for different in (0, 3):
        share = false_discoveries(parts=12, different=different, repetitions=repetitions)
        print(f"12 parts, {different} of them different: false discoveries {share:.3f}")


def print_length(repetitions: int) -> None:
    """Models that differ in length alone."""
    for name, judge in LENGTH_JUDGES.items():
        for longer in (0.5, 1.0):
            case = length_case(judge, longer=longer, repetitions=repetitions // 20)
            print(
                f"{name}, {longer} standard deviations longer: win rate {case.raw:.3f}, "
                f"length-controlled {case.controlled:.3f}, at equal length {case.equal:.3f}"
            )


if __name__ == "__main__":
    main()
