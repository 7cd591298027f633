"""The public benchmarks: the rows of their files, their rule, and who can be judged by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.data.files.read import Row as FileRow
from rlhf.data.files.read import Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.errors import DataError
from rlhf.evaluation.benchmarks import rules, shapes
from rlhf.evaluation.benchmarks.case import BenchmarkCase, JudgedCase
from rlhf.evaluation.benchmarks.config import BenchmarkName

Rule = Callable[[Sequence[JudgedCase], int], list[rules.Row]]
"""The table of judged cases; the integer is the seed of the intervals."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How a benchmark is read and scored.

    parse: the case of a row of a file; None for a row that the benchmark does not count. It raises
        `DataError` with the reason why a row cannot be used.
    rule: the table.
    by_pairs: whether a judge that compares two responses can answer it.
    """

    parse: Callable[[FileRow, str], BenchmarkCase | None]
    rule: Rule
    by_pairs: bool = True


BENCHMARKS: Mapping[BenchmarkName, Benchmark] = {
    "rewardbench2": Benchmark(
        parse=shapes.rewardbench2_row, rule=rules.rewardbench2, by_pairs=False
    ),
    "rewardbench": Benchmark(parse=shapes.rewardbench_row, rule=rules.rewardbench),
    "rewordbench": Benchmark(parse=shapes.rewordbench_row, rule=rules.rewordbench),
    "rm_bench": Benchmark(parse=shapes.rm_bench_row, rule=rules.rm_bench),
    "ppe_preference": Benchmark(parse=shapes.ppe_preference_row, rule=rules.ppe_preference),
    "ppe_correctness": Benchmark(
        parse=shapes.ppe_correctness_row, rule=rules.ppe_correctness, by_pairs=False
    ),
    "judgebench": Benchmark(parse=shapes.judgebench_row, rule=rules.judgebench),
    "llmbar": Benchmark(parse=shapes.llmbar_row, rule=rules.llmbar),
}


def read_cases(name: BenchmarkName, files: Sequence[str], bad_rows: BadRows) -> list[BenchmarkCase]:
    """The cases of all files, in their order.

    Raises:
        DataError: a file that cannot be read, or no case in any of them.
    """
    parse = BENCHMARKS[name].parse
    cases: list[BenchmarkCase] = []
    for file in files:
        problems = []
        for where, row in read_rows(file):
            if isinstance(row, Unreadable):
                problems.append(Problem(where, row.reason, row.raw))
                continue
            try:
                case = parse(row, file)
            except DataError as error:
                problems.append(Problem(where, str(error), row))
                continue
            cases += [case] if case is not None else []
        bad_rows.take(file, problems)
    if not cases and not bad_rows.problems:
        raise DataError(
            f"data={' '.join(files)} has no case of {name}; check the file and the name.",
            code="no-rows",
        )
    return cases
