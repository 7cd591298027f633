"""Rows of benchmark files that cannot be used, and how files are read."""

import json

import pytest

from rlhf.data.rows.bad_rows import BadRows
from rlhf.evaluation.benchmarks.benchmark import BENCHMARKS, read_cases
from rlhf.evaluation.benchmarks.config import NAMES
from rlhf.evaluation.benchmarks.run import chosen_cases
from tests.errors import raises

TIED = {"prompt": "p", "chosen": ["a"], "rejected": ["b"], "subset": "Ties"}
PPE = {"prompt": "p", "response_1": "a", "response_2": "b"}
BAD = [
    ("rewardbench", {"prompt": "p", "chosen": "a", "subset": "hep-go"}, "rejected"),
    ("rewardbench", {"chosen": "a", "rejected": "b", "subset": "hep-go"}, "prompt"),
    ("rewardbench2", {"prompt": "p", "chosen": "a", "rejected": ["b"], "subset": "Math"}, "chosen"),
    ("rewardbench2", {**TIED, "id": "7"}, "tied:N"),
    ("rewardbench2", {**TIED, "id": "tied:7"}, "single"),
    ("rm_bench", {"prompt": "p", "chosen": ["a"], "rejected": ["b"], "domain": "chat"}, "3"),
    ("ppe_preference", {**PPE, "winner": "model_c"}, "model_c"),
    ("ppe_correctness", {**PPE, "scores": [True, False, True]}, "response_3"),
    ("ppe_correctness", {**PPE, "scores": [1, 0], "sampled_conflict_pairs": [[0, 2]]}, "[0, 2]"),
    ("ppe_correctness", {**PPE, "scores": [1, 1], "sampled_conflict_pairs": [[0, 1]]}, "[0, 1]"),
    ("judgebench", {"question": "p", "response_A": "a", "response_B": "b", "label": "A"}, "A>B"),
    ("llmbar", {"input": "p", "output_1": "a", "output_2": "b", "label": 0}, "0"),
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(("name", "row", "named"), BAD)
def test_row_of_another_form_is_listed_with_its_place(tmp_path, name, row, named):
    file = write(tmp_path / "rows.jsonl", [row])
    with raises("bad-row", f"{file}:1", named), BadRows() as bad_rows:
        read_cases(name, [file], bad_rows)


def test_every_name_has_a_rule():
    assert set(BENCHMARKS) == set(NAMES)


def test_files_of_hub_splits_are_named_by_their_folder(tmp_path):
    """The files of all of PPE's benchmarks have one name: the score is the mean over benchmarks."""
    row = {**PPE, "scores": [True, False], "sampled_conflict_pairs": [[0, 1]]}
    places = ["PPE-MATH/data/train-00000-of-00001.jsonl", "PPE-GPQA/train.jsonl", "mbpp.jsonl"]
    files = []
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        files.append(write(tmp_path / place, [row]))
    with BadRows() as bad_rows:
        cases = read_cases("ppe_correctness", files, bad_rows)
    assert [case.subset for case in cases] == ["PPE-MATH", "PPE-GPQA", "mbpp"]


def test_json_document_of_several_files_is_read(tmp_path):
    row = {"input": "p", "output_1": "a", "output_2": "b", "label": 1}
    files = []
    for subset in ("Natural", "Manual"):
        (tmp_path / subset).mkdir()
        file = tmp_path / subset / "dataset.json"
        file.write_text(json.dumps([row, {**row, "label": 2}], indent=1))
        files.append(str(file))
    with BadRows() as bad_rows:
        cases = read_cases("llmbar", files, bad_rows)
    assert [case.subset for case in cases] == ["Natural", "Natural", "Manual", "Manual"]
    assert [case.responses[0] for case in cases] == ["a", "b", "a", "b"]


def test_file_without_a_case_raises(tmp_path):
    file = write(tmp_path / "rows.jsonl", [{**PPE, "winner": "tie"}])
    with raises("no-rows", file), BadRows() as bad_rows:
        read_cases("ppe_preference", [file], bad_rows)


def test_drawn_cases_keep_the_two_questions_of_a_prompt(tmp_path):
    rows = [
        {**TIED, "prompt": f"{kind} {n}", "chosen": ["a", "c"], "id": f"{kind}:{n}"}
        for kind in ("tied", "ref")
        for n in range(10)
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    with BadRows() as bad_rows:
        cases = read_cases("rewardbench2", [file], bad_rows)
    chosen = chosen_cases(cases, 7, seed=0)
    assert len(chosen) == 6
    assert all(sum(one.group == case.group for one in chosen) == 2 for case in chosen)
    assert chosen_cases(cases, 20, seed=0) == cases
