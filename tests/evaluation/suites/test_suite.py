"""suite.yaml and prompts: how they are read, and what is reported about them."""

import json
from dataclasses import replace

import pytest
import torch

from rlhf.data.rows.bad_rows import BadRows
from rlhf.evaluation.suites.answers import Answer
from rlhf.evaluation.suites.config import SuiteConfig, names_suite
from rlhf.evaluation.suites.figures import gradings
from rlhf.evaluation.suites.judge import JudgeKeys
from rlhf.evaluation.suites.prompts import read_prompts
from rlhf.evaluation.suites.run import judge_keys
from rlhf.evaluation.suites.scoring import check_figure, score_answers
from rlhf.evaluation.suites.suite import find_suites, read_suite
from rlhf.models.load import load_policy
from tests.errors import raises
from tests.tiny_models import make_model

YAML = """
prompts: prompts.jsonl
system: Be brief.
figures:
  answer: {score: check:answer, where: {kind: [plain, hint]}}
  grade:
    rubric: Is it kind?
    scale: [0, 1]
    turn: 2
    better: lower
    tolerance: 0.1
"""
ROWS = [
    {"prompt": "2 plus 2?", "kind": "plain", "answer": "4"},
    {"turns": ["Hi.", "Why?"], "kind": "two"},
    {"prompt": [{"role": "user", "content": "And?"}], "kind": "hint", "answer": ["a", "b"]},
]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, YAML, ROWS)
    return folder


def write(folder, text, rows):
    (folder / "suite.yaml").write_text(text)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def prompts_of(folder):
    suite = read_suite(folder / "suite.yaml")
    with BadRows() as bad_rows:
        return suite, read_prompts(suite, bad_rows)


def test_keys_of_a_suite(folder):
    suite = read_suite(folder / "suite.yaml")
    answer, grade = suite.figures
    assert (suite.name, suite.max_completion_length, suite.temperature) == ("mine", 512, 0.0)
    assert (answer.better, answer.turn, answer.sign) == ("higher", None, 1.0)
    assert (grade.rubric, grade.scale, grade.turn, grade.sign) == ("Is it kind?", (0, 1), 2, -1.0)
    assert [answer.counts(row) for row in ROWS] == [True, False, True]


def test_second_turn_follows_the_response_to_the_first(folder):
    _, prompts = prompts_of(folder)
    roles = [message["role"] for message in prompts[1].at_turn(["Hello."])]
    assert roles == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in prompts[1].at_turn([])] == ["Be brief.", "Hi."]
    assert prompts[0].prompt[0] == {"role": "system", "content": "Be brief."}


def test_key_of_a_prompt_does_not_depend_on_its_place(folder):
    keys = [prompt.key for prompt in prompts_of(folder)[1]]
    write(folder, YAML, [*reversed(ROWS), ROWS[0]])
    moved = [prompt.key for prompt in prompts_of(folder)[1]]
    assert moved[:3] == keys[::-1]
    assert len(set(moved)) == 4  # the same row twice is two prompts


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a", "turns": ["b"]}, "either"),
        ({"turns": ["a", 1]}, "later turn"),
        ({"turns": []}, "either"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "user"),
    ],
)
def test_row_that_is_no_conversation_is_listed(folder, row, named):
    write(folder, YAML, [ROWS[0], row])
    with raises("bad-row", "prompts.jsonl:2", named):
        prompts_of(folder)


@pytest.mark.parametrize(
    ("old", "new", "code", "named"),
    [
        ("system:", "sistem:", "unknown-key", "sistem"),
        ("prompts: prompts.jsonl", "prompts: other.jsonl", "missing-file", "--prompts mine=FILE"),
        ("better: lower", "better: less", "bad-value", "less"),
        ("scale: [0, 1]", "scale: [1, 0]", "bad-value", "[1, 0]"),
        ("scale: [0, 1]", "score: check:answer", "key-conflict", "grade"),
        ("score: check:answer, ", "", "missing-key", "answer"),
        ("scale: [0, 1]", "scale: [0, .inf]", "bad-value", "inf"),
        ("tolerance: 0.1", "tolerance: .nan", "bad-value", "tolerance"),
        ("turn: 2", "turn: 0", "bad-value", "turn"),
        ("turn: 2", "turn: 1.5", "bad-value", "turn"),
        ("system: Be brief.", "judge: {modell: x}", "unknown-key", "modell"),
    ],
)
def test_wrong_key_names_its_place(folder, old, new, code, named):
    assert old in YAML
    write(folder, YAML.replace(old, new), ROWS)
    with raises(code, folder / "suite.yaml", named):
        read_suite(folder / "suite.yaml")


def test_folder_of_suites_and_names(folder):
    assert [suite.name for suite in find_suites(str(folder), [], {})] == ["mine"]
    assert [suite.name for suite in find_suites(str(folder.parent), ["mine"], {})] == ["mine"]
    with raises("unknown-name", "'yours'", "mine"):
        find_suites(str(folder.parent), ["yours"], {})
    with raises("missing-file", "suite.yaml"):
        find_suites(str(folder.parent / "nowhere"), [], {})
    assert find_suites("over_refusal", [], {})[0].figures[0].better == "lower"


def test_sampling_and_grading_change_with_what_decides_them(folder):
    """Neither depends on the tolerance, nor the sampling on a rubric."""
    before = hashes(folder)
    for old, new, sampling, grading in (
        ("Is it kind?", "Is it true?", False, True),
        ("Be brief.", "Be long.", True, False),
        ("turn: 2", "turn: 1", False, True),
        ("better: lower", "where: {kind: two}", False, True),
        ("tolerance: 0.1", "tolerance: 0.2", False, False),
    ):
        write(folder, YAML.replace(old, new), ROWS)
        after = hashes(folder)
        assert (before[0] != after[0], before[1] != after[1]) == (sampling, grading)
    write(folder, YAML, ROWS)
    assert hashes(folder) == before
    assert hashes(folder, judge="other")[1] != before[1]


def test_local_judge_has_the_precision_of_the_models(folder, tmp_path, monkeypatch):
    """A model with random weights gives no grade, after it was loaded."""
    dtypes, model = [], make_model(tmp_path / "judge")

    def load(path, *, dtype):
        dtypes.append(dtype)
        return load_policy(path, dtype=dtype)

    monkeypatch.setattr("rlhf.rewards.judge.load_policy", load)
    suite, prompts = prompts_of(folder)
    prompt = next(one for one in prompts if one.later)
    answer = Answer(suite="mine", model="m", key=prompt.key, sample=0, prompt=prompt.prompt,
                    later=prompt.later, responses=["Hi.", "So."])  # fmt: skip
    rubrics = replace(suite, figures=[one for one in suite.figures if one.rubric])
    config = SuiteConfig(suite="mine", models=["m"], judge=str(model), judge_max_tokens=4)
    for bf16 in (False, True):
        keys = judge_keys(replace(config, bf16=bf16))
        with raises("judge-failed", "no response a grade"):
            score_answers(rubrics, {prompt.key: prompt}, [answer], keys, device="cpu")
    assert dtypes == [torch.float32, torch.bfloat16]


def hashes(folder, judge="folder"):
    """Of the sampling, and of the grades of the figure with a rubric."""
    suite = read_suite(folder / "suite.yaml")
    graded = gradings([suite], JudgeKeys(judge=judge))
    assert list(graded) == ["mine grade"]
    return suite.sampling, graded["mine grade"]


@pytest.mark.parametrize(
    ("old", "new", "code", "named"),
    [
        ("kind: [plain, hint]", "kind: none", "bad-value", "none"),
        ("check:answer", "check:anwser", "unknown-name", "anwser"),
        ("kind: [plain, hint]", "kind: two", "bad-row", "answer"),
        ("check:answer, ", "check:answer, turn: 2, ", "bad-value", "turn=2"),
        ("check:answer", "gold.py:score", "bad-reward", "gold.py"),
    ],
)
def test_figure_that_its_prompts_do_not_fit(folder, old, new, code, named):
    write(folder, YAML.replace(old, new), ROWS)
    suite, prompts = prompts_of(folder)
    with raises(code, named):
        check_figure(suite, suite.figures[0], prompts)


def test_command_line_with_a_suite_is_recognised(tmp_path):
    (tmp_path / "with.yaml").write_text("suite: mine\n")
    (tmp_path / "without.yaml").write_text("eval_data: x\n")
    assert names_suite(["--suite", "mine"])
    assert names_suite(["--suite=mine"])
    assert names_suite(["--config", str(tmp_path / "with.yaml")])
    assert not names_suite([f"--config={tmp_path / 'without.yaml'}", "--models", "suite"])
