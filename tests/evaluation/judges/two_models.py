"""Pairs, verdicts and records of two models, ppo against sft, for tests of judges."""

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE, Pair, Verdict
from rlhf.types import PromptRow

ORDERS = {1.0: (FIRST, SECOND), 0.0: (SECOND, FIRST), 0.5: (TIE, TIE)}


def pair_of(index, ours="ours", theirs="theirs"):
    return Pair(prompt_index=index, model="ppo", baseline="sft", ours=ours, theirs=theirs)


def verdict_of(pair, win):
    ours_first, theirs_first = ORDERS[win]
    return Verdict(pair=pair, ours_first=ours_first, theirs_first=theirs_first)


def spec_of(count, **more):
    return MetricSpec(
        **({"models": ("sft", "ppo"), "baseline": "sft", "judges": (), "resamples": 200}
           | {"categories": [None] * count} | more)
    )  # fmt: skip


def rows_of(count):
    return [PromptRow(prompt=f"prompt {i}") for i in range(count)]


def records_of(count):
    return [
        Record(prompt_index=i, sample=0, model=model, text=f"{model} {i}", num_tokens=2,
               ended_with_eos=True)
        for i in range(count)
        for model in ("sft", "ppo")
    ]  # fmt: skip
