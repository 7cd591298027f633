"""The grammar of brackets and the sums of the hidden code; the table over seeds."""

import json
import time
from functools import partial
from itertools import product

import pytest

from recipes.toy_tasks.brackets import grammar
from recipes.toy_tasks.parentheses import copied
from recipes.toy_tasks.stage_runs import as_table, side_by_side, write_rows
from recipes.toy_tasks.sums import code
from rlhf.data.config import DataConfig
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.labels.simulate import load_annotators
from rlhf.models.config import ModelConfig
from rlhf.pipeline.config import AlignConfig
from rlhf.runtime.config import parse_config
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import PPO_CLASSES
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.sft.config import SFTConfig

CONFIGS = {
    "sft": (RunConfig, ModelConfig, DataConfig, SFTConfig),
    "reward_model": (RunConfig, ModelConfig, DataConfig, RewardModelConfig),
    "ppo": PPO_CLASSES,
    "evaluate": (RunConfig, EvaluateConfig, StudyConfig),
    "align": (RunConfig, AlignConfig),
}


@pytest.mark.parametrize("world", ["markov", "sums", "brackets"])
def test_every_yaml_has_keys_that_its_recipe_knows(root, world):
    files = sorted((root / "recipes" / "toy_tasks" / world).glob("*.yaml"))
    assert files
    for file in files:
        if file.stem == "annotators":
            assert len(load_annotators(file)) == 4
        else:
            parse_config(*CONFIGS[file.stem], description=None, argv=["--config", str(file)])


def balanced(symbols):
    """By taking pairs out until none is left."""
    text = "".join(symbols)
    while "()" in text:
        text = text.replace("()", "")
    return text == ""


def test_errors_are_none_in_what_is_balanced_and_only_there():
    """All 2,046 texts of up to ten brackets."""
    for length in range(1, 11):
        for symbols in product(grammar.SYMBOLS, repeat=length):
            assert (grammar.errors(" ".join(symbols)) == 0) == balanced(symbols)


@pytest.mark.parametrize(
    ("text", "errors", "score"),
    [("( )", 0, 2.0), (") (", 2, -1.0), ("( ( )", 1, -0.5), (") ) ) ) )", 5, -2.0), ("", 0, 2.0)],
)
def test_score_falls_by_half_a_point_an_error(text, errors, score):
    assert grammar.errors(text) == errors
    assert grammar.score([""], [text]) == [score]


def test_half_of_the_demonstrations_are_wrong_and_no_right_one_is_deeper_than_six():
    chosen = grammar.prompts(0, "demonstrations", grammar.SEEN, 300, held_out=False)
    rows = list(grammar.demonstrations(0, chosen, each=4))
    right = [grammar.axes(**row)["balanced"] for row in rows]
    assert len(rows) == 1200
    assert sum(right) == 600
    for row, good in zip(rows, right, strict=True):
        depths = grammar.depths(f"{row['prompt']} {row['completion']}".split())
        # A wrong one may be a bracket deeper: one put in or turned round.
        assert max(depths) <= grammar.DEEPEST + (0 if good else 2)
    assert rows == list(grammar.demonstrations(0, chosen, each=4))


def test_lookup_among_the_right_demonstrations():
    """Of four answers to `( (` two close both; neither closes three, which `) ) )` would."""
    answers = [") ) )", ")", ") )", ") ( ) )"]
    shown = [{"prompt": "( (", "completion": answer} for answer in answers]
    heldout = [
        {"prompt": "( (", "category": grammar.SEEN},
        {"prompt": "( ( (", "category": grammar.DEEPER},
    ]
    assert copied(heldout, shown) == {
        "lookup among right demonstrations: balanced, seen": 1.0,
        "lookup among right demonstrations: balanced, deeper": 0.0,
    }


def test_held_out_prompts_stand_in_no_other_file_and_deeper_ones_are_no_longer():
    seen = grammar.prompts(1, "held-out", grammar.SEEN, 200, held_out=True)
    deeper = grammar.prompts(1, "held-out", grammar.DEEPER, 200, held_out=True)
    trained = grammar.prompts(1, "ppo", grammar.SEEN, 2000, held_out=False)
    assert len(set(seen)) == 200
    assert not set(seen) & set(trained)
    ends = {kind: {grammar.depths(p.split())[-1] for p in of}
            for kind, of in ((grammar.SEEN, trained), (grammar.DEEPER, deeper))}  # fmt: skip
    assert ends == {grammar.SEEN: {1, 2, 3, 4, 5}, grammar.DEEPER: {7, 8, 9}}
    assert max(len(p.split()) for p in deeper) <= max(len(p.split()) for p in trained)
    assert max(max(grammar.depths(p.split())) for p in trained) == grammar.DEEPEST


def test_running_sums_by_hand(monkeypatch):
    """a = 7, b = 5, c = 9: 7, 12, 21, 28, 33, 42 mod 10."""
    monkeypatch.setattr(code, "code_of", lambda world: {"a": 7, "b": 5, "c": 9})
    word = "a b c a b c"
    assert code.step_by_step(word, 0) == "7 2 1 8 3 2"
    assert code.at_a_glance(word, 0) == "2"
    answers = ["2", "7 2 1 8 3 2", "9 2", "7 2 1 8 3", "2 7", ""]
    assert code.right([word] * 6, answers, [0] * 6) == [1, 1, 1, 0, 0, 0]
    assert code.axes(word, "7 2 1 8 3 2") == {"takes the steps": 1.0, "answers at once": 0.0}
    assert code.axes(word, "2") == {"takes the steps": 0.0, "answers at once": 1.0}


def test_every_letter_has_a_digit_of_its_own_and_words_stand_once():
    assert sorted(code.code_of(4).values()) == list(range(10))
    assert code.code_of(4) != code.code_of(5)
    shown = [row["prompt"] for row in code.demonstrations(4, 300, glance=True, steps=True)]
    asked = [row["prompt"] for row in code.prompt_rows(4, 200, start=300)]
    assert len({*shown, *asked}) == 500


def test_demonstrations_take_the_ways_they_are_given():
    ways = {
        name: {len(row["completion"].split()) for row in code.demonstrations(0, 100, **given)}
        for name, given in {
            "glance": {"glance": True},
            "steps": {"steps": True},
            "both": {"glance": True, "steps": True},
        }.items()
    }
    assert ways == {"glance": {1}, "steps": {6}, "both": {1, 6}}


def test_table_has_median_range_and_each_seed():
    found = {
        0: {"KL": 1.0, "gate": "pass"},
        1: {"KL": 4.0, "gate": "fail"},
        2: {"KL": 2.0, "gate": "pass"},
    }
    assert as_table(found).splitlines()[2:] == [
        "| KL | 2.00 | 1.00 | 4.00 | 1.00 4.00 2.00 |",
        "| gate |  |  |  | pass fail pass |",
    ]


def test_side_by_side_gives_each_its_own(tmp_path):
    makers = {name: (lambda name=name: tmp_path / name) for name in "abc"}
    assert side_by_side(2, makers) == {name: tmp_path / name for name in "abc"}


def test_one_that_fails_keeps_those_that_wait_from_beginning(monkeypatch):
    # Other tests' servers are children of this process.
    monkeypatch.setattr("recipes.toy_tasks.stage_runs.psutil.Process.children", lambda self: [])
    begun = []

    def fail():
        raise RuntimeError("the first one")

    def wait(name):
        begun.append(name)
        time.sleep(0.5)

    makers = {"a": fail, **{name: partial(wait, name) for name in "bcd"}}
    with pytest.raises(RuntimeError, match="the first one"):
        side_by_side(1, makers)
    assert len(begun) <= 1  # that one may have begun before anybody knew


def test_rows_are_lines(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_rows(path, ({"prompt": p} for p in "ab")) == str(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"prompt": "a"}, {"prompt": "b"}]
