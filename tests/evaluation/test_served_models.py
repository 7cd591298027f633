"""Models behind an address in an evaluation: sampled, judged, without what needs weights."""

import json

import pytest

from rlhf.evaluation.api import evaluate
from rlhf.evaluation.core.config import EvaluateConfig, named_paths
from rlhf.evaluation.core.study_config import StudyConfig, check_studies
from rlhf.recipes.evaluation_steps import evaluate as run_recipe
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises
from tests.rollouts.fake_chat_server import FakeChatServer
from tests.tiny_models import make_model

PROMPTS = [f"Say {i}." for i in range(6)]
OPTIONS = {"num_generations": 2, "max_completion_length": 6, "bootstrap_samples": 50}


def by_length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for seed, name in enumerate(("first", "second")):
        make_model(folder / name, seed=seed)
    return folder


@pytest.fixture
def server():
    server = FakeChatServer()
    yield server
    server.close()


def metrics_of(evaluation, model):
    return {result.metric for result in evaluation if result.model == model}


def test_served_model_is_judged_next_to_a_loaded_one(folder, server):
    """`x: Say 0.` has 9 characters and, as the fake server counts, 3 words and one token."""
    models = {"first": folder / "first", "far": f"{server.address}#x"}
    log = []
    results = evaluate(models, PROMPTS, judge=by_length, log=log.append, **OPTIONS)
    assert results.find(metric="score", model="far").value == 9.0
    assert results.find(metric="length", model="far").value == 4.0
    assert results.find(metric="eos_rate", model="far").value == 1.0
    assert results["win_rate"].model == "far"
    assert {"kl", "reference_loss"}.isdisjoint(metrics_of(results, "far"))
    assert "reference_loss" in metrics_of(results, "first")
    assert any("far" in line and "no KL" in line for line in log)
    assert len({content["seed"] for _, content in server.asked}) == 12
    assert {content["temperature"] for _, content in server.asked} == {1.0}


def test_served_baseline_leaves_kl_out_unless_a_reference_is_named(folder, server):
    models = {"far": f"{server.address}#x", "first": folder / "first", "second": folder / "second"}
    log = []
    results = evaluate(models, PROMPTS, log=log.append, **OPTIONS)
    assert "kl" not in metrics_of(results, "second")
    assert any("far is behind an address" in line for line in log)
    results = evaluate(models, PROMPTS, reference="first", **OPTIONS)
    assert "kl" in metrics_of(results, "second")


def test_only_served_models(server):
    """No tokenizer is loaded: `Say 0.` of 6 characters has 6 * 3 / 9 = 2 tokens and the EOS."""
    models = {name: f"{server.address}#{name}" for name in ("x", "y")}
    results = evaluate(models, PROMPTS, judge=by_length, **OPTIONS)
    assert results["win_rate"].value == 0.5
    assert results.find(metric="length", model="copy").value == 3.0


def test_thoughts_of_a_server_are_kept_apart():
    usage = {"completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 5}}
    server = FakeChatServer(message={"reasoning_content": "Hm.", "content": "So."}, usage=usage)
    results = evaluate({"far": f"{server.address}#x"}, PROMPTS, **OPTIONS)
    server.close()
    record = results.records[0]
    assert (record.text, record.thought, record.num_tokens, record.thought_tokens) == (
        *("So.", "Hm."),
        *(8, 5),
    )


def test_server_that_counts_no_tokens_ends_the_evaluation():
    server = FakeChatServer(usage={"prompt_tokens": 3})
    with raises("engine-mismatch", server.address, "completion_tokens"):
        evaluate({"far": f"{server.address}#x"}, PROMPTS, **OPTIONS)
    server.close()


def test_unusable_servers_are_reported_before_sampling(folder, server, monkeypatch):
    monkeypatch.setattr(
        "rlhf.evaluation.core.sample_models.load_evaluated_model",
        lambda *_: pytest.fail("loaded"),
    )
    for path, code, words in [
        ("http://127.0.0.1:9/v1#x", "engine-lost", "http://127.0.0.1:9/v1"),
        (f"{server.address}#other", "unknown-name", "'other'"),
        (server.address, "missing-key", "#MODEL"),
    ]:
        with raises(code, words):
            evaluate({"first": folder / "first", "far": path}, PROMPTS, **OPTIONS)


@pytest.mark.parametrize(
    ("keys", "code", "word"),
    [
        ({"reference": "far"}, "unsupported", "reference=far"),
        ({"chat_template": "none"}, "key-conflict", "chat_template"),
    ],
)
def test_keys_that_a_served_model_cannot_have(keys, code, word):
    with raises(code, word):
        EvaluateConfig(models=["a", "far=http://host/v1#x"], eval_data="x", **keys)


def test_engine_without_a_loaded_model_is_rejected():
    with raises("key-conflict", "rollout_engine"):
        EvaluateConfig(
            models=["far=http://host/v1#x"], eval_data="x", rollout_engine="transformers"
        )


@pytest.mark.parametrize("key", ["tax_data", "lm_eval", "frontier"])
def test_studies_that_need_weights_are_rejected(key):
    value = ["task"] if key == "lm_eval" else "x"
    config = EvaluateConfig(models=["far=http://host/v1#x", "a"], eval_data="x")
    with raises("unsupported", key, "far"):
        check_studies(config, StudyConfig(**{key: value}))


def test_name_of_an_address_is_that_of_its_model():
    items = ["http://host:1/v1#org/big", "far=http://host:1/v1#a=b", "http://host:1/v1#x=y"]
    assert named_paths(items, "models") == {
        "big": "http://host:1/v1#org/big",
        "far": "http://host:1/v1#a=b",
        "x=y": "http://host:1/v1#x=y",
    }
    assert named_paths(["http://host:1/classify"], "reward_model") == {
        "classify": "http://host:1/classify"
    }


def test_saved_responses_are_judged_without_the_server(folder, tmp_path):
    """The second run reads answers.jsonl; its server has ended."""
    server = FakeChatServer()
    (tmp_path / "gold.py").write_text(
        "def score(prompts, completions, **columns):\n"
        "    return [float(len(text)) for text in completions]\n"
    )
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
    )
    config = EvaluateConfig(
        models=[f"first={folder / 'first'}", f"far={server.address}#x"],
        eval_data=str(tmp_path / "prompts.jsonl"),
        gold=f"{tmp_path / 'gold.py'}:score",
        **OPTIONS,
    )
    first, second = tmp_path / "one", tmp_path / "two"
    run_recipe(RunConfig(output_dir=str(first)), config, StudyConfig())
    server.close()
    study = StudyConfig(answers=str(first / "answers.jsonl"))
    run_recipe(RunConfig(output_dir=str(second)), config, study)
    results = [json.loads((each / "evaluation.json").read_text()) for each in (first, second)]
    assert results[0]["results"] == results[1]["results"]
