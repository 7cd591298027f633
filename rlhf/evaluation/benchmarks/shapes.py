"""Rows of public benchmarks, as their files have them, as cases."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rlhf.data.files.read import Row
from rlhf.errors import reject_row
from rlhf.evaluation.benchmarks.case import BenchmarkCase
from rlhf.evaluation.benchmarks.row import (
    group_of,
    lists_case,
    pair_case,
    prompt_in,
    text_in,
    texts_in,
)

TIES = "Ties"
STYLES = 3  # of RM-Bench: concise, detailed, detailed with Markdown
ORIGINAL = "original"
# Columns of PPE's preferences that mark a subset.
PPE_TAGS = ("is_code", "is_refusal", "hard_prompt", "easy_prompt", "if_prompt", "math_prompt")
_SPLIT = re.compile(r"(?:train|test|validation)(?:-\d+-of-\d+)?")  # a file of a hub's split
# JudgeBench: the beginning of the column `source` -> the category of its paper.
JUDGEBENCH_CATEGORIES: Mapping[str, str] = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}


def rewardbench_row(row: Row, file: str) -> BenchmarkCase:
    """RewardBench: `prompt`, `chosen`, `rejected`, `subset`, `id`."""
    better, worse = text_in(row, "chosen"), text_in(row, "rejected")
    subset = text_in(row, "subset")
    return pair_case(row, prompt_in(row), better, worse, subset=subset, name="id", second=False)


def rewordbench_row(row: Row, file: str) -> BenchmarkCase:
    """RewardBench's columns, and `transformation`: how the row's texts were changed.

    A row without it, or with `original`, is the unchanged row of that `id`. Rows of one id are not
    independent.
    """
    case = rewardbench_row(row, file)
    name = str(row.get("transformation", ORIGINAL))
    return replace(case, subset=name, tags=[case.subset], group=case.id or case.group)


def rewardbench2_row(row: Row, file: str) -> BenchmarkCase:
    """RewardBench 2: `prompt`, lists `chosen` and `rejected`, `subset`, `id`.

    The ids of the subset Ties are `ref:N`, a question with one right answer, and `tied:N`, the
    same kind of question with several.
    """
    better, worse = texts_in(row, "chosen"), texts_in(row, "rejected")
    case = lists_case(row, better, worse, text_in(row, "subset"))
    if case.subset.lower() != TIES.lower():
        return case
    kind, colon, number = case.id.partition(":")
    if kind not in ("ref", "tied") or not colon or not number:
        reject_row(f"has the id {case.id!r}; those of {TIES} are ref:N and tied:N")
    if kind == "tied" and len(better) < 2:
        reject_row(f"has the id {case.id!r} but a single right answer")
    return replace(case, subset=TIES, group=number)


def rm_bench_row(row: Row, file: str) -> BenchmarkCase:
    """RM-Bench: `prompt`, `chosen` and `rejected` with three styles each, `domain`."""
    better, worse = texts_in(row, "chosen"), texts_in(row, "rejected")
    if len(better) != STYLES or len(worse) != STYLES:
        reject_row(f"has {len(better)} chosen and {len(worse)} rejected texts, not {STYLES} each")
    # safety-refuse and safety-response are one domain.
    domain = text_in(row, "domain").partition("-")[0]
    return lists_case(row, better, worse, domain)


def ppe_preference_row(row: Row, file: str) -> BenchmarkCase | None:
    """PPE, human preferences: `prompt`, `response_1`, `response_2`, `winner`; None for a tie."""
    winner = text_in(row, "winner")
    if winner.startswith("tie"):
        return None
    if winner not in ("model_a", "model_b"):
        reject_row(f"has the winner {winner!r}; use model_a, model_b or tie")
    texts = [text_in(row, "response_1"), text_in(row, "response_2")]
    second = winner == "model_b"
    case = pair_case(
        row,
        prompt_in(row),
        texts[second],
        texts[not second],
        subset=str(row.get("language", "")),
        name="question_id",
        second=second,
    )
    return replace(case, tags=[tag for tag in PPE_TAGS if row.get(tag)])


def ppe_correctness_row(row: Row, file: str) -> BenchmarkCase:
    """PPE, best of K: `prompt`, `response_1` … `response_K`, `scores`, `sampled_conflict_pairs`.

    `scores` has whether each response is correct. The subset is the column `benchmark`, or the name
    of the file. Files of the hub are all called `data/train-00000-of-00001.parquet`; for them it is
    the name of the folder.
    """
    correct = row.get("scores")
    if not isinstance(correct, list) or len(correct) < 2:
        reject_row("has no list in the column 'scores'")
    right = [bool(each) for each in correct]
    texts = [text_in(row, f"response_{number + 1}") for number in range(len(right))]
    order = sorted(range(len(right)), key=lambda place: not right[place])
    prompt = prompt_in(row)
    pairs = []
    for one, two in _index_pairs(row, len(right)):
        if right[one] == right[two]:
            reject_row(f"has the pair {[one, two]}, of which both are correct or neither is")
        better, worse = (one, two) if right[one] else (two, one)
        pairs.append((order.index(better), order.index(worse)))
    return BenchmarkCase(
        id=str(row.get("question_id", "")),
        prompt=prompt,
        responses=[texts[place] for place in order],
        num_better=sum(right),
        subset=str(row.get("benchmark", _name_of(file))),
        group=group_of(prompt),
        pairs=pairs,
    )


def judgebench_row(row: Row, file: str) -> BenchmarkCase:
    """JudgeBench: `question`, `response_A`, `response_B`, `label` (A>B or B>A), `source`."""
    label = text_in(row, "label")
    if label not in ("A>B", "B>A"):
        reject_row(f"has the label {label!r}; use A>B or B>A")
    texts = [text_in(row, "response_A"), text_in(row, "response_B")]
    source, second = str(row.get("source", "")), label == "B>A"
    category = next((name for start, name in JUDGEBENCH_CATEGORIES.items()
                     if source.startswith(start)), source)  # fmt: skip
    prompt = prompt_in(row, "question")
    return pair_case(
        row,
        prompt,
        texts[second],
        texts[not second],
        subset=category,
        name="pair_id",
        second=second,
    )


def llmbar_row(row: Row, file: str) -> BenchmarkCase:
    """LLMBar: `input`, `output_1`, `output_2`, `label` (1 or 2).

    The subset is the column `subset`, or the folder of the file: all files are called dataset.json.
    """
    if str(row.get("label")) not in ("1", "2"):
        reject_row(f"has the label {row.get('label')!r}; use 1 or 2")
    texts = [text_in(row, "output_1"), text_in(row, "output_2")]
    second = str(row["label"]) == "2"
    return pair_case(
        row,
        prompt_in(row, "input"),
        texts[second],
        texts[not second],
        subset=str(row.get("subset", Path(file).resolve().parent.name)),
        name="id",
        second=second,
    )


def _index_pairs(row: Row, count: int) -> list[tuple[int, int]]:
    """`sampled_conflict_pairs`, checked."""
    pairs = row.get("sampled_conflict_pairs", [])
    if not isinstance(pairs, list):
        reject_row("has no list in the column 'sampled_conflict_pairs'")
    read: list[tuple[int, int]] = []
    for pair in pairs:
        numbers = list(pair) if isinstance(pair, list | tuple) else []
        places = [int(one) for one in numbers if isinstance(one, int | float)]
        if len(places) != 2 or not all(0 <= place < count for place in places):
            reject_row(f"has the pair {pair!r} in 'sampled_conflict_pairs'")
        read.append((places[0], places[1]))
    return read


def _name_of(file: str) -> str:
    """The name of a file without its ending; of a hub's split, that of the folder of its data."""
    path = Path(file).resolve()
    name = path.name.partition(".")[0]
    if not _SPLIT.fullmatch(name):
        return name
    folders = [parent.name for parent in path.parents if parent.name not in ("data", "")]
    return folders[0] if folders else name
