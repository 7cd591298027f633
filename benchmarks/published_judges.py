"""The rules of LLMBar and JudgeBench on the verdicts and scores that their authors published.

    git clone https://github.com/princeton-nlp/LLMBar
    git clone https://github.com/ScalerLab/JudgeBench
    python -m benchmarks.published_judges --llmbar LLMBar --judgebench JudgeBench

Prints the largest difference from the published accuracies of LLMBar, and a line for each reward
model and judge of JudgeBench with the accuracy of its published decisions.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.evaluation.benchmarks.case import BenchmarkCase, JudgedCase, judged_by_scores
from rlhf.evaluation.benchmarks.rules import SCORE, judgebench, llmbar
from rlhf.evaluation.benchmarks.shapes import judgebench_row, llmbar_row
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE
from rlhf.evaluation.stats.bootstrap import Estimate

Row = Mapping[str, Any]
ORDERS = ("swap = False", "swap = True")  # the first output shown first, and second


def llmbar_tables(clone: Path) -> Iterator[tuple[str, float, Estimate]]:
    """(name, published accuracy, ours) of each judge on each subset."""
    for file in sorted(clone.glob("Dataset/**/evaluators/**/result.json")):
        statistics = json.loads(file.with_name("statistics.json").read_text(encoding="utf-8"))
        published = float(statistics["correct_average"].rstrip("%")) / 100
        rows = json.loads(file.read_text(encoding="utf-8"))
        # All rows are of one subset: the score is its accuracy.
        judged = [llmbar_case({**row, "subset": "all"}) for row in rows]
        yield str(file.parent.relative_to(clone)), published, _score(llmbar(judged, 0))


def llmbar_case(row: Row) -> JudgedCase:
    """The case with the judge's last verdicts; `winner` counts outputs as the file does."""
    case = llmbar_row(dict(row), "")
    winners = [str(row["results"][-1][order]["winner"]) for order in ORDERS]
    if case.better_is_second:  # the second output is shown first where they are swapped
        winners.reverse()
    right, wrong = str(row["label"]), "12".replace(str(row["label"]), "")
    return _with_verdicts(
        case,
        {right: FIRST, wrong: SECOND}.get(winners[0], TIE),
        {right: SECOND, wrong: FIRST}.get(winners[1], TIE),
    )


def judgebench_tables(clone: Path) -> Iterator[tuple[str, float, Estimate]]:
    """(name, accuracy of the published decisions, ours) of each reward model and judge."""
    for file in sorted(clone.glob("outputs/*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        judged = [judgebench_case(row) for row in rows]
        name = file.stem.partition("judge_model=")[2]
        yield name, _decided(rows), _score(judgebench(judged, 0))


def judgebench_case(row: Row) -> JudgedCase:
    """The case with a reward model's scores, or with a judge's verdicts in both orders."""
    case, first = judgebench_row(dict(row), ""), row["judgments"][0]
    if "scores" in first["judgment"]:
        scores = [float(score) for score in first["judgment"]["scores"]]
        return judged_by_scores(case, scores[::-1] if case.better_is_second else scores)
    shown = [_shown(judgment) for judgment in row["judgments"]]
    return _with_verdicts(case, *(reversed(shown) if case.better_is_second else shown))


def _decided(rows: Sequence[Row]) -> float:
    """The share of pairs that the published decisions get right, by the release's rule.

    A reward model's decision in the order of the file counts. A judge is right if more of its two
    decisions are right than wrong; the second is of the swapped pair.
    """
    swapped = {"A>B": "B>A", "B>A": "A>B"}
    right = 0
    for row in rows:
        decisions = [judgment["decision"] for judgment in row["judgments"]]
        decisions = [decisions[0], swapped.get(decisions[1], decisions[1])]
        if row["judge_name"] == "reward_model":
            decisions = decisions[:1]
        wrong = swapped[row["label"]]
        right += decisions.count(row["label"]) > decisions.count(wrong)
    return right / len(rows)


def _shown(judgment: Row) -> str:
    """The verdict on the pair as it was shown."""
    return {"A>B": FIRST, "B>A": SECOND}.get(judgment["decision"], TIE)


def _with_verdicts(case: BenchmarkCase, better_first: str, better_second: str) -> JudgedCase:
    return JudgedCase(case=case, verdicts={case.pairs[0]: (better_first, better_second)})


def _score(rows: Sequence[Any]) -> Estimate:
    [estimate] = [row.estimate for row in rows if row.metric == SCORE and row.subset is None]
    assert isinstance(estimate, Estimate)
    return estimate


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--llmbar", type=Path, help="Clone of LLMBar.")
    parser.add_argument("--judgebench", type=Path, help="Clone of JudgeBench.")
    options = parser.parse_args()
    if options.llmbar:
        tables = list(llmbar_tables(options.llmbar))
        largest = max(abs(published - ours.value) for _, published, ours in tables)
        print(f"LLMBar: {len(tables)} tables, largest difference {largest:.0e}")
    for name, decided, ours in judgebench_tables(options.judgebench) if options.judgebench else ():
        value, low, high = (100 * each for each in (ours.value, ours.low, ours.high))
        print(f"JudgeBench: {name}: {100 * decided:.2f}, here {value:.2f} [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    main()
