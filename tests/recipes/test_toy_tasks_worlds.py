"""The grammar of brackets, the sums in the hidden code, parallel stages, and the table."""

import json
import time
from functools import partial
from itertools import product

import pytest

from recipes.toy_tasks.brackets import grammar
from recipes.toy_tasks.calls import world as calls
from recipes.toy_tasks.parentheses import lookup_metrics
from recipes.toy_tasks.stage_runs import as_table, run_parallel, write_rows
from recipes.toy_tasks.sums import code
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer
from rlhf.data.config import DataConfig
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.data.tokenization.turns import ids_between_turns, written_turn
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.labels.simulate import load_annotators
from rlhf.models.config import ModelConfig
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.config import AlignConfig
from rlhf.runtime.config import parse_config
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.settings import PPO_CLASSES
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.sft.config import SFTConfig

CONFIGS = {
    "sft": (RunConfig, ModelConfig, DataConfig, SFTConfig),
    "reward_model": (RunConfig, ModelConfig, DataConfig, RewardModelConfig),
    "ppo": PPO_CLASSES,
    "methods": PPO_CLASSES,
    "compare": (RunConfig, CompareConfig),
    "evaluate": (RunConfig, EvaluateConfig, StudyConfig),
    "align": (RunConfig, AlignConfig),
}


@pytest.mark.parametrize("task", ["markov", "sums", "brackets", "calls"])
def test_every_yaml_has_known_keys(root, task):
    files = sorted((root / "recipes" / "toy_tasks" / task).glob("*.yaml"))
    assert files
    for file in files:
        if file.stem == "annotators":
            assert len(load_annotators(file)) == 4
        else:
            parse_config(*CONFIGS[file.stem], description=None, argv=["--config", str(file)])


def balanced(symbols):
    """Whether removing pairs repeatedly leaves nothing."""
    text = "".join(symbols)
    while "()" in text:
        text = text.replace("()", "")
    return text == ""


def test_only_balanced_texts_have_no_errors():
    """All 2,046 texts of up to ten brackets."""
    for length in range(1, 11):
        for symbols in product(grammar.SYMBOLS, repeat=length):
            assert (grammar.errors(" ".join(symbols)) == 0) == balanced(symbols)


@pytest.mark.parametrize(
    ("text", "errors", "score"),
    [("( )", 0, 2.0), (") (", 2, -1.0), ("( ( )", 1, -0.5), (") ) ) ) )", 5, -2.0), ("", 0, 2.0)],
)
def test_score_falls_by_half_a_point_per_error(text, errors, score):
    assert grammar.errors(text) == errors
    assert grammar.score([""], [text]) == [score]


def test_half_the_demonstrations_are_wrong_and_depth_is_limited():
    prompts = grammar.prompts(0, "demonstrations", grammar.SEEN, 300, held_out=False)
    rows = list(grammar.demonstrations(0, prompts, each=4))
    right = [grammar.axes(**row)["balanced"] for row in rows]
    assert len(rows) == 1200
    assert sum(right) == 600
    for row, good in zip(rows, right, strict=True):
        depths = grammar.depths(f"{row['prompt']} {row['completion']}".split())
        # A wrong one can be deeper by an inserted or a reversed bracket.
        assert max(depths) <= grammar.DEEPEST + (0 if good else 2)
    assert rows == list(grammar.demonstrations(0, prompts, each=4))


def test_lookup_copies_only_right_demonstrations():
    """Two of four demonstrations on `( (` close both brackets; neither of them closes three."""
    responses = [") ) )", ")", ") )", ") ( ) )"]
    trained = [{"prompt": "( (", "completion": response} for response in responses]
    heldout = [
        {"prompt": "( (", "category": grammar.SEEN},
        {"prompt": "( ( (", "category": grammar.DEEPER},
    ]
    assert lookup_metrics(heldout, trained) == {
        "lookup among right demonstrations: balanced, seen": 1.0,
        "lookup among right demonstrations: balanced, deeper": 0.0,
    }


def test_held_out_prompts_are_unseen_and_deeper_ones_not_longer():
    seen = grammar.prompts(1, "held-out", grammar.SEEN, 200, held_out=True)
    deeper = grammar.prompts(1, "held-out", grammar.DEEPER, 200, held_out=True)
    trained = grammar.prompts(1, "ppo", grammar.SEEN, 2000, held_out=False)
    assert len(set(seen)) == 200
    assert not set(seen) & set(trained)
    ends = {kind: {grammar.depths(p.split())[-1] for p in prompts}
            for kind, prompts in ((grammar.SEEN, trained), (grammar.DEEPER, deeper))}  # fmt: skip
    assert ends == {grammar.SEEN: {1, 2, 3, 4, 5}, grammar.DEEPER: {7, 8, 9}}
    assert max(len(p.split()) for p in deeper) <= max(len(p.split()) for p in trained)
    assert max(max(grammar.depths(p.split())) for p in trained) == grammar.DEEPEST


def test_running_sums_by_hand(monkeypatch):
    """a = 7, b = 5, c = 9: 7, 12, 21, 28, 33, 42 mod 10."""
    monkeypatch.setattr(code, "code_of", lambda world: {"a": 7, "b": 5, "c": 9})
    word = "a b c a b c"
    assert code.step_by_step(word, 0) == "7 2 1 8 3 2"
    assert code.at_a_glance(word, 0) == "2"
    responses = ["2", "7 2 1 8 3 2", "9 2", "7 2 1 8 3", "2 7", ""]
    assert code.right([word] * 6, responses, [0] * 6) == [1, 1, 1, 0, 0, 0]
    assert code.axes(word, "7 2 1 8 3 2") == {"takes the steps": 1.0, "answers at once": 0.0}
    assert code.axes(word, "2") == {"takes the steps": 0.0, "answers at once": 1.0}


def test_letters_have_distinct_digits_and_words_do_not_repeat():
    assert sorted(code.code_of(4).values()) == list(range(10))
    assert code.code_of(4) != code.code_of(5)
    trained = [row["prompt"] for row in code.demonstrations(4, 300, glance=True, steps=True)]
    unseen = [row["prompt"] for row in code.prompt_rows(4, 200, start=300)]
    assert len({*trained, *unseen}) == 500


def test_demonstrations_have_the_selected_kinds():
    ways = {
        name: {len(row["completion"].split()) for row in code.demonstrations(0, 100, **keys)}
        for name, keys in {
            "glance": {"glance": True},
            "steps": {"steps": True},
            "both": {"glance": True, "steps": True},
        }.items()
    }
    assert ways == {"glance": {1}, "steps": {6}, "both": {1, 6}}


def test_calculator_adds_two_numbers_and_nothing_else():
    def call(**arguments):
        return {"name": "add", "arguments": arguments}

    assert calls.result_of(call(a=12, b=30)) == "42"
    assert calls.result_of(call(a=99, b=99)) == "198"
    for wrong in (
        call(a=100, b=1),
        call(a=12),
        call(a="12", b=30),
        call(a=12, b=30) | {"name": "a"},
    ):
        assert calls.result_of(wrong) == "wrong"
    calculator = calls.Calculator()
    calculator.reset("12 + 30", "42")
    turn = {"role": "assistant", "content": "", "tool_calls": [{"function": call(a=12, b=30)}]}
    assert calculator.step([turn]) == ([{"role": "tool", "content": "42"}], 0.0, False)
    for content, reward in (("42", 1.0), ("41", 0.0), ("add a 12", 0.0)):
        assert calculator.step([{"role": "assistant", "content": content}]) == ([], reward, True)


def test_calls_are_written_and_read_in_the_format_of_the_template(tmp_path):
    """All symbols are in the vocabulary, and what the model writes is parsed with integers."""
    tokenizer = make_tokenizer(
        calls.SYMBOLS, control=calls.CONTROL, chat_template=calls.CHAT_TEMPLATE,
        response_template=calls.RESPONSE_TEMPLATE,
    )  # fmt: skip
    make_model(tmp_path, tokenizer, seed=0)
    chat = load_tokenizer(str(tmp_path))
    before = prompt_ids(chat, "12 + 30", [calls.TOOL])
    assert chat.tokenizer.convert_ids_to_tokens(before) == ["add", "12", "+", "30", "<|answer|>"]
    written = ["<|call|>", "add", "a", "12", "b", "30", "<|end|>"]
    ids = chat.tokenizer.convert_tokens_to_ids(written)
    turn = written_turn(chat, before, ids, [calls.TOOL])
    assert turn["content"] == ""
    [call] = turn["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": {"a": 12, "b": 30}}
    between = ids_between_turns(chat, turn, [{"role": "tool", "content": "42"}])
    assert chat.tokenizer.convert_ids_to_tokens(between) == ["<|result|>", "42", "<|answer|>"]
    guess = written_turn(chat, before, chat.tokenizer.convert_tokens_to_ids(["42", "<|end|>"]),
                         [calls.TOOL])  # fmt: skip
    assert guess == {"role": "assistant", "content": "42"}


def test_a_share_of_the_dialogues_calls_the_tool_and_no_question_repeats():
    rows = list(calls.demonstrations(3, 2000, calls=0.25))
    lengths = [len(row["messages"]) for row in rows]
    assert set(lengths) == {2, 4}
    assert lengths.count(4) / 2000 == pytest.approx(0.25, abs=0.03)
    assert all(row["messages"][-1]["content"].isdigit() for row in rows)
    trained = [row["messages"][0]["content"] for row in rows]
    unseen = [row["prompt"] for row in calls.prompt_rows(3, 500, start=2000)]
    assert len({*trained, *unseen}) == 2500


def test_table_has_mean_median_range_and_each_seed():
    """1 and 3: mean 2, standard error 1, Student's quantile of one degree of freedom 12.71. The
    third metric is missing in one seed."""
    metrics_by_seed = {
        0: {"KL": 1.0, "gate": "pass"},
        1: {"KL": 3.0, "gate": "fail", "gold": 0.5},
    }
    assert as_table(metrics_by_seed).splitlines()[2:] == [
        "| KL | 2.00 [-10.71, 14.71] | 2.00 | 1.00 | 3.00 | 1.00 3.00 |",
        "| gate |  |  |  |  | pass fail |",
        "| gold | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 |",
    ]


def test_run_parallel_returns_each_result_by_name(tmp_path):
    makers = {name: (lambda name=name: tmp_path / name) for name in "abc"}
    assert run_parallel(2, makers) == {name: tmp_path / name for name in "abc"}


def test_failure_keeps_waiting_stages_from_starting(monkeypatch):
    # Other tests' servers are children of this process.
    monkeypatch.setattr("recipes.toy_tasks.stage_runs.psutil.Process.children", lambda self: [])
    started = []

    def fail():
        raise RuntimeError("the first one")

    def wait(name):
        started.append(name)
        time.sleep(0.5)

    makers = {"a": fail, **{name: partial(wait, name) for name in "bcd"}}
    with pytest.raises(RuntimeError, match="the first one"):
        run_parallel(1, makers)
    assert len(started) <= 1  # one may have started before the failure was noticed


def test_write_rows_writes_one_json_line_per_row(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_rows(path, ({"prompt": p} for p in "ab")) == str(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"prompt": "a"}, {"prompt": "b"}]
