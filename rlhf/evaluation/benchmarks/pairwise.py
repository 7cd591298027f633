"""A judge that compares two responses, on the pairs of a benchmark."""

from collections.abc import Sequence

from rlhf.evaluation.benchmarks.case import BenchmarkCase, JudgedCase, Pair, Verdicts
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE, AnonymousPair, CompareFunction


def judge_cases(cases: Sequence[BenchmarkCase], compare: CompareFunction) -> list[JudgedCase]:
    """Every case with the judge's verdicts on its pairs, in both orders.

    Equal responses are a tie and are not sent to the judge.
    """
    pairs = [(case, pair) for case in cases for pair in case.pairs]
    shown = [
        AnonymousPair(prompt=case.prompt, first=first, second=second)
        for case, (better, worse) in pairs
        if case.responses[better] != case.responses[worse]
        for first, second in (
            (case.responses[better], case.responses[worse]),
            (case.responses[worse], case.responses[better]),
        )
    ]
    replies = iter(compare(shown))
    verdicts: list[dict[Pair, Verdicts]] = []
    for case in cases:
        own: dict[Pair, Verdicts] = {}
        for better, worse in case.pairs:
            if case.responses[better] == case.responses[worse]:
                own[better, worse] = (TIE, TIE)
            else:
                own[better, worse] = (next(replies), next(replies))
        verdicts.append(own)
    return [JudgedCase(case=case, verdicts=own) for case, own in zip(cases, verdicts, strict=True)]


def order_decides(judged: Sequence[JudgedCase]) -> float | None:
    """Share of the pairs with two verdicts on which the order decides; None without such a pair."""
    both = [
        verdicts for one in judged for verdicts in one.verdicts.values() if None not in verdicts
    ]
    consistent = {(FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)}
    return sum(each not in consistent for each in both) / len(both) if both else None
