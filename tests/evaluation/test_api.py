"""evaluate() on tiny random models: results by value, the recipe's numbers, kinds of judges."""

import json
import runpy
import sys

import pytest
from datasets import Dataset

from rlhf.chat.model import ChatModel
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.api import evaluate
from rlhf.evaluation.core.results import read_results
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.errors import raises
from tests.tiny_models import make_model

SAMPLE = "rlhf.evaluation.core.sample_models.sample_records"
PROMPTS = [f"Say {i}." for i in range(6)]
OPTIONS = {"num_generations": 2, "max_completion_length": 6, "bootstrap_samples": 50}
GOLD = """
def score(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, a reward model with mean 1 and deviation 2, a gold function, prompts."""
    folder = tmp_path_factory.mktemp("api")
    for seed, name in enumerate(("first", "second")):
        make_model(folder / name, seed=seed)
    chat = load_tokenizer(str(folder / "first"))
    save_reward_model(folder / "reward", new_reward_model(folder / "first", seed=0), chat, 1.0, 2.0)
    (folder / "gold.py").write_text(GOLD)
    (folder / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
    )
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return {"first": folder / "first", "second": folder / "second"}


def by_length(prompts, completions, **columns):
    """The function of GOLD."""
    return [float(len(text)) for text in completions]


def by_number(prompts, completions, number, **columns):
    """A score from a column of the prompts."""
    return [float(value) for value in number]


def texts_of(evaluation, model):
    records = [record for record in evaluation.records if record.model == model]
    return [r.text for r in sorted(records, key=lambda r: (r.prompt_index, r.sample))]


def test_win_rate_equals_that_of_the_records(models):
    evaluation = evaluate(models, PROMPTS, judge=by_length, **OPTIONS)
    first, second = texts_of(evaluation, "first"), texts_of(evaluation, "second")
    wins = []
    for i in range(0, 12, 2):
        pairs = [(len(a), len(b)) for a in second[i : i + 2] for b in first[i : i + 2]]
        wins += [(a > b) + 0.5 * (a == b) for a, b in pairs]
    result = evaluation["win_rate"]
    assert result.value == pytest.approx(sum(wins) / len(wins))
    assert (result.model, result.baseline, result.judge, result.n) == ("second", "first", "gold", 6)
    assert result.low <= result.value <= result.high
    score = evaluation.find(metric="score", model="first", judge="gold")
    assert score.value == pytest.approx(sum(map(len, first)) / 12)


def test_results_equal_those_of_the_recipe(root, folder, models, tmp_path, monkeypatch):
    words = [f"--gold={folder}/gold.py:score", f"--reward_model={folder}/reward", "--seed=3"]
    words += [f"--eval_data={folder}/prompts.jsonl", f"--output_dir={tmp_path}/recipe"]
    words += [*(f"--{key}={value}" for key, value in OPTIONS.items()), "--max_prompts=4"]
    words += ["--models", *(f"{name}={path}" for name, path in models.items())]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    with pytest.raises(SystemExit):
        runpy.run_path(str(root / "recipes" / "evaluate.py"), run_name="__main__")
    evaluation = evaluate(
        models,
        str(folder / "prompts.jsonl"),
        judge=[f"{folder}/gold.py:score", str(folder / "reward")],
        max_prompts=4,
        seed=3,
        **OPTIONS,
    )
    evaluation.write(tmp_path / "function")
    for name in ("evaluation.json", "answers.jsonl", "samples/best.jsonl"):
        written = [(tmp_path / way / name).read_text() for way in ("recipe", "function")]
        assert written[0] == written[1], name
    assert read_results(tmp_path / "function") == list(evaluation)


def test_prompts_from_memory_equal_those_of_the_file(folder, models):
    """Strings, rows and a data set; rows have columns that the function reads."""
    rows = [{"prompt": prompt, "number": i} for i, prompt in enumerate(PROMPTS)]
    of_file = evaluate(models, folder / "prompts.jsonl", **OPTIONS)
    for prompts in (PROMPTS, rows, Dataset.from_list(rows)):
        assert texts_of(evaluate(models, prompts, **OPTIONS), "second") == texts_of(
            of_file, "second"
        )
    evaluation = evaluate(models, rows, judge=by_number, **OPTIONS)
    assert evaluation.find(metric="score", model="second").value == pytest.approx(2.5)


def test_loaded_reward_model_equals_its_folder(folder, models):
    """Scores are (logit - 1) / 2."""
    loaded, path = (
        evaluate(models, PROMPTS, judge=judge, **OPTIONS)
        for judge in (RewardModel(folder / "reward"), str(folder / "reward"))
    )
    assert list(loaded) == list(path)
    record = loaded.records[0]
    logit = RewardModel(folder / "reward").score([PROMPTS[record.prompt_index]], [record.text])[0]
    assert record.scores["reward_model"] == pytest.approx((logit - 1) / 2, abs=1e-4)


def test_find_needs_one_match_and_print_has_a_table(models):
    evaluation = evaluate(models, PROMPTS, judge=by_length, **OPTIONS)
    with pytest.raises(KeyError, match="model=first"):
        evaluation["score"]
    with pytest.raises(KeyError, match="win_rate"):
        evaluation.find(metric="accuracy")
    assert "win rate against first (gold)" in str(evaluation)
    assert "6 held-out prompts" in str(evaluation)


def test_bad_arguments_raise(folder, models):
    with raises("bad-value", "max_prompts=1"):
        evaluate(models, PROMPTS, max_prompts=1)
    with raises("bad-value", "third"):
        evaluate(models, PROMPTS, baseline="third")
    with raises("bad-value", "2 functions"):
        evaluate(models, PROMPTS, judge=[by_length, by_number])
    with raises("repeated-key"):
        evaluate(models, PROMPTS, judge=[str(folder / "reward")] * 2)


def test_one_model_judge_and_training_file_are_lists_of_one(folder):
    (folder / "seen.jsonl").write_text('{"prompt": "say 3.", "completion": "x"}\n')
    path, seen = folder / "first", str(folder / "seen.jsonl")
    one = evaluate(path, PROMPTS, judge=folder / "reward", train_data=seen, **OPTIONS)
    several = evaluate(
        [str(path)], PROMPTS, judge=[str(folder / "reward")], train_data=[seen], **OPTIONS
    )
    assert list(one) == list(several)
    assert one.spec.models == ["first"]
    assert sum(one.spec.contaminated) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        ({"models": []}, "bad-value", "models"),
        ({"models": {}}, "bad-value", "models"),
        ({"models": None}, "bad-value", "None"),
        ({"models": {"a": None}}, "bad-value", "None"),
        ({"models": {"lr=0.1": "first"}}, "bad-value", "lr=0.1"),
        ({"models": {1: "first"}}, "bad-value", 1),
        ({"models": [object()]}, "bad-value", "object"),
        ({"train_data": [3]}, "bad-value", "train_data"),
        ({"judge": 3}, "bad-reward", "judge=3"),
        ({"prompts": None}, "bad-value", "NoneType"),
        ({"num_generations": "4"}, "bad-value", "num_generations"),
        ({"temperature": "hot"}, "bad-value", "temperature"),
        ({"chat_template": None}, "bad-value", "chat_template"),
    ],
)
def test_arguments_of_another_type_raise(models, arguments, code, name):
    with raises(code, name):
        evaluate(**{"models": models, "prompts": PROMPTS, **OPTIONS, **arguments})


def test_loaded_model_is_no_model_to_evaluate(folder):
    with raises("bad-value", "ChatModel", "folder"):
        evaluate(ChatModel(folder / "first"), PROMPTS)
    with raises("bad-value", "ChatModel"):
        evaluate({"first": ChatModel(folder / "first")}, PROMPTS)


def test_results_written_below_a_file_raise(models, tmp_path):
    (tmp_path / "file").write_text("")
    evaluation = evaluate(models, PROMPTS, **OPTIONS)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with raises("bad-value", tmp_path / "file"):
            evaluation.write(folder)


def test_judge_with_unknown_parameter_is_rejected_before_sampling(models, monkeypatch):
    monkeypatch.setattr(
        "rlhf.evaluation.core.sample_models.sample_records", lambda *_: pytest.fail("sampled")
    )
    with raises("bad-reward", "by_number", "number"):
        evaluate(models, PROMPTS, judge=by_number, **OPTIONS)
    with raises("bad-reward", "max"):
        evaluate(models, PROMPTS, judge=max, **OPTIONS)


def test_verifier_is_a_gold_score(models, monkeypatch):
    evaluation = evaluate(models, PROMPTS, judge="verifier:length?max=3", **OPTIONS)
    assert -1 <= evaluation.find(metric="score", model="first", judge="gold").value <= 0
    monkeypatch.setattr(
        "rlhf.evaluation.core.sample_models.sample_records", lambda *_: pytest.fail("sampled")
    )
    with raises("bad-reward", "verifier:exact_match", "answer"):
        evaluate(models, PROMPTS, judge="verifier:exact_match", **OPTIONS)


def test_find_names_the_wrong_field(models):
    evaluation = evaluate(models, PROMPTS, judge=by_length, **OPTIONS)
    with raises("unknown-name", "metric='accuracy'", "win_rate"):
        evaluation["accuracy"]
    with raises("unknown-name", "model='secnd'", "second") as caught:
        evaluation.find(metric="score", model="secnd")
    assert isinstance(caught.value, KeyError)
    with raises("unknown-name", "judge='llm'", "gold"):
        evaluation.find(metric="score", model="first", judge="llm")
    with raises("unknown-name", "subset='x'"):
        evaluation.find(metric="score", model="first", subset="x")
    assert "win_rate" in evaluation
    assert "accuracy" not in evaluation
    assert evaluation["win_rate"] in evaluation
