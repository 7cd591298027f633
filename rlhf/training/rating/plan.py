"""The plan of a run on verdicts or ratings, before a weight is loaded."""

from collections import defaultdict

from rlhf.data.rows.split import group_key
from rlhf.planning.case import Target
from rlhf.planning.plan import Plan
from rlhf.training.rating.setup import RatingSetup
from rlhf.training.reward.plan import plan


def plan_of_setup(setup: RatingSetup, target: Target) -> Plan:
    """The plan of a checked run, whose prompts are known."""
    responses: dict[str, set[str]] = defaultdict(set)
    for row in setup.rows.train:
        responses[group_key(row)].add(row.completion)
    return plan(
        setup.model,
        setup.data,
        setup.config,
        target,
        prompts=len(responses),
        responses=max(map(len, responses.values())),
    )
