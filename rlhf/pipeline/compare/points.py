"""From records to points: a method at a strength, its numbers by seed and prompt.

A held-out prompt with 4 responses of a policy and 4 of the SFT model becomes one cell of each
table: the share of the 16 comparisons by the judge that the policy wins (a tie counts half), and
the means over its 4 responses of KL, reward, judge's score and length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlhf.evaluation.core.records import RECORDS_FILE, Record, by_prompt, read_records
from rlhf.evaluation.reward_model.best_of_n import expected_of_best, kl_bound
from rlhf.evaluation.stats.crossed import Table
from rlhf.evaluation.stats.win_rate import prompt_wins
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.cost import Cost
from rlhf.pipeline.compare.evaluation import SFT
from rlhf.pipeline.compare.measure import JUDGE, REWARD
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.compare.runs import EVALUATION, Run
from rlhf.runtime.run_folder import RunConfig

Groups = Sequence[Sequence[Record]]  # [prompts][responses]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Numbers of one policy by prompt, float [P] each."""

    wins: Table  # share of comparisons with the SFT model's responses that it wins
    kl: Table  # from the SFT model, nats per response
    reward: Table  # what the methods optimize
    score: Table  # the judge's
    length: Table  # tokens


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method at one strength. Tables are float [S, P]: seeds, prompts."""

    method: Method
    value: float
    wins: Table
    kl: Table
    reward: Table
    score: Table
    length: Table
    seeds: Sequence[int]  # of the runs; empty for best of N, whose tables have one row
    costs: Sequence[Cost]  # of the runs

    @property
    def kl_is_bound(self) -> bool:
        """Whether the KL is an upper bound instead of a measurement."""
        return not self.method.trains

    @property
    def per_answer(self) -> int:
        """Responses that are sampled for one answer: N of best of N, else 1."""
        return 1 if self.method.trains else int(self.value)

    @property
    def swept_text(self) -> str:
        """`kl_coef 0.1`."""
        return f"{self.method.swept} {self.value}"

    @property
    def name(self) -> str:
        """`ppo (kl_coef 0.1)`."""
        return f"{self.method.name} ({self.swept_text})"


def read_points(
    run_config: RunConfig, config: CompareConfig, runs: Sequence[tuple[Run, Cost]]
) -> tuple[list[Point], Numbers]:
    """The points of all methods in their order, and the numbers of the SFT model itself."""
    root = Path(run_config.output_dir)
    records = read_records(root / SFT / EVALUATION / RECORDS_FILE)
    count = 1 + max(record.prompt_index for record in records)
    baseline = by_prompt(records, SFT, count)
    points: list[Point] = []
    for method in config.parsed_methods:
        if not method.trains:
            path = root / method.name / EVALUATION / RECORDS_FILE
            many = by_prompt(read_records(path), method.name, count)
            points += [best_of_point(method, n, many, baseline) for n in map(int, method.values)]
            continue
        for value in method.values:
            chosen = [pair for pair in runs if (pair[0].method, pair[0].value) == (method, value)]
            numbers = [
                numbers_of(_records(run, count), known_scores(baseline)) for run, _ in chosen
            ]
            points.append(trained_point(method, value, numbers, chosen))
    return points, numbers_of(baseline, known_scores(baseline))


def trained_point(
    method: Method, value: float, numbers: Sequence[Numbers], runs: Sequence[tuple[Run, Cost]]
) -> Point:
    """The runs of one strength as tables of their seeds."""

    def table(of: Callable[[Numbers], Table]) -> Table:
        return np.stack([of(each) for each in numbers])

    return Point(
        method=method,
        value=value,
        wins=table(lambda each: each.wins),
        kl=table(lambda each: each.kl),
        reward=table(lambda each: each.reward),
        score=table(lambda each: each.score),
        length=table(lambda each: each.length),
        seeds=[run.seed for run, _ in runs],
        costs=[cost for _, cost in runs],
    )


def numbers_of(group: Groups, baseline: Sequence[Sequence[tuple[str, float]]]) -> Numbers:
    """The numbers of a policy.

    Args:
        group: its responses.
        baseline: the SFT model's responses with the judge's scores.
    """
    wins = [
        prompt_wins(_judged(records, others), [score for _, score in others])
        for records, others in zip(group, baseline, strict=True)
    ]
    return Numbers(
        wins=np.array(wins),
        kl=_means(group, lambda record: record.kl or 0.0),
        reward=_means(group, lambda record: record.scores[REWARD]),
        score=_means(group, lambda record: record.scores[JUDGE]),
        length=_means(group, lambda record: float(record.num_tokens)),
    )


def best_of_point(method: Method, n: int, many: Groups, baseline: Groups) -> Point:
    """Best of n by the reward: the exact expectation over draws of n from many responses.

    Its KL is at most log n - (n-1)/n nats.
    """

    def expected(value: Callable[[Record], float]) -> Table:
        rows = [
            expected_of_best([r.scores[REWARD] for r in records], [value(r) for r in records], n)
            for records in many
        ]
        return np.array([rows])

    others = known_scores(baseline)
    wins = [
        expected_of_best(
            [record.scores[REWARD] for record in records],
            [prompt_wins([score], [s for _, s in known]) for score in _judged(records, known)],
            n,
        )
        for records, known in zip(many, others, strict=True)
    ]
    return Point(
        method=method,
        value=n,
        wins=np.array([wins]),
        kl=np.full((1, len(many)), kl_bound(n)),
        reward=expected(lambda record: record.scores[REWARD]),
        score=expected(lambda record: record.scores[JUDGE]),
        length=expected(lambda record: float(record.num_tokens)),
        seeds=(),
        costs=(),
    )


def known_scores(group: Groups) -> list[list[tuple[str, float]]]:
    """(response, the judge's score) of each response to each prompt."""
    return [[(record.response, record.scores[JUDGE]) for record in records] for records in group]


def _judged(records: Sequence[Record], known: Sequence[tuple[str, float]]) -> list[float]:
    """The judge's scores; a text that the other side has too gets its score, so that they tie.

    A reward model's scores of one text in two batches differ by rounding.
    """
    scores = dict(known)
    return [scores.get(record.response, record.scores[JUDGE]) for record in records]


def _records(run: Run, count: int) -> Groups:
    return by_prompt(read_records(run.folder / EVALUATION / RECORDS_FILE), run.name, count)


def _means(group: Groups, value: Callable[[Record], float]) -> Table:
    return np.array([np.mean([value(record) for record in records]) for records in group])
