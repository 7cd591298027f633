"""The check of a run before its models are loaded."""

from dataclasses import replace

import pytest

from rlhf.planning.machines import GPUS
from rlhf.planning.plan import ppo_plan
from rlhf.planning.report import check_fits, lines
from tests.errors import raises
from tests.planning.test_memory import case


def plan_on(share: float):
    """A plan whose peak is `share` of the device's memory."""
    peak = ppo_plan(case(), sharded=False, steps=2).memory.peak
    machine = replace(GPUS["L4-24"], memory=round(peak / share))
    return ppo_plan(case(machine=machine), sharded=False, steps=2)


@pytest.mark.parametrize(("share", "num_warnings"), [(0.5, 0), (0.89, 0), (0.95, 1), (1.14, 1)])
def test_peak_above_the_usable_memory_is_a_warning(share, num_warnings):
    assert len(check_fits(plan_on(share))) == num_warnings


def test_peak_above_the_memory_raises_with_what_to_try():
    with raises("out-of-memory", "L4-24", "--skip_plan", "rlhf plan"):
        check_fits(plan_on(1.2))


def test_table_adds_up():
    printed = lines(plan_on(0.5))
    start = next(n for n, line in enumerate(printed) if line.startswith("GiB per device"))
    end = next(n for n, line in enumerate(printed) if line.startswith("total"))
    total = [float(cell) for cell in printed[end].split()[1:]]
    update = sum(float(line[-11:] or 0) for line in printed[start + 1 : end] if line[-11:].strip())
    assert update == pytest.approx(total[-1], abs=0.05)
