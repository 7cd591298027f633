"""`rlhf evaluate` with engines: equal texts where sampling is greedy, equal metrics elsewhere."""

import dataclasses
import inspect
import json
import os
import runpy
import sys

import pytest
import torch

from rlhf.evaluation import api
from rlhf.evaluation.core.records import read_records
from rlhf.evaluation.core.results import find, read_results
from rlhf.rollouts.config import RolloutConfig
from tests.errors import raises
from tests.rollouts.fake_server import FakeServer
from tests.tiny_models import make_model

VLLM = os.environ.get("RLHF_VLLM_PYTHON")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models of one shape, one of other heads, one of another vocabulary; prompts."""
    folder = tmp_path_factory.mktemp("engines")
    for seed, name in enumerate(("first", "second")):
        make_model(folder / name, "wide_llama", seed=seed)
    make_model(folder / "narrow", "llama")
    make_model(folder / "other", "qwen2")
    rows = [{"prompt": f"Say {i}."} for i in range(6)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def server(folder):
    server = FakeServer(folder / "first")
    yield server
    server.close()


@pytest.fixture
def evaluate(root, folder, monkeypatch):
    """Runs the recipe; returns its exit status."""

    def run(output, *words, models=("first", "second")):
        keys = [
            f"--output_dir={output}",
            f"--eval_data={folder}/prompts.jsonl",
            "--num_generations=3",
            "--max_completion_length=6",
            "--bootstrap_samples=50",
            "--models",
            *(str(folder / model) for model in models),
        ]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, *keys])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(root / "recipes" / "evaluate.py"), run_name="__main__")
        return ended.value.code

    return run


def texts_of(output):
    records = read_records(output / "answers.jsonl")
    return {(r.model, r.prompt_index, r.sample): r.text for r in records}


def keys_of(engine, server):
    if engine == "fake server":
        return ["--rollout_engine=vllm", f"--rollout_server={server.address}"]
    python = [f"--rollout_python={VLLM}"] if engine == "vllm" else []
    return [f"--rollout_engine={engine}", *python]


@pytest.mark.parametrize("engine", ["transformers", "fake server"])
def test_greedy_responses_are_those_of_the_native_engine(evaluate, tmp_path, server, engine):
    """At a temperature of 1e-6 the likeliest token of a random model has all the probability."""
    native, other = tmp_path / "native", tmp_path / "other"
    greedy = "--temperature=0.000001"
    assert evaluate(native, greedy) == 0
    assert evaluate(other, greedy, *keys_of(engine, server)) == 0
    assert texts_of(other) == texts_of(native)
    assert json.loads((other / "evaluation.json").read_text())["rollout_engine"] != "native"


@pytest.mark.parametrize(
    "engine",
    [
        "transformers",
        "fake server",
        pytest.param("vllm", marks=pytest.mark.skipif(not VLLM, reason="needs RLHF_VLLM_PYTHON")),
    ],
)
def test_metrics_agree_with_those_of_the_native_engine(evaluate, tmp_path, server, engine):
    """18 responses of 6 tokens of each model; KL and loss are exact at each sampled prefix."""
    native, other = tmp_path / "native", tmp_path / "other"
    batch = "--per_device_eval_batch_size=9"  # two batches, with noise of their own
    assert evaluate(native, batch) == 0
    assert evaluate(other, batch, *keys_of(engine, server)) == 0
    before, after = read_results(native), read_results(other)
    for metric, model in [("kl", "second"), ("reference_loss", "first"), ("length", "first")]:
        expected, given = find(before, metric, model), find(after, metric, model)
        assert given.value == pytest.approx(expected.value, rel=0.1), metric
    sampled = [text for (model, *_), text in texts_of(other).items() if model == "second"]
    assert len(set(sampled)) > 16
    assert texts_of(other) != texts_of(native)


def test_each_model_is_sampled_with_its_own_weights(evaluate, tmp_path, server):
    """Both models' weights are sent to the running server, which is tried and asked 6 prompts."""
    assert evaluate(tmp_path / "run", *keys_of("fake server", server)) == 0
    assert server.asked.count("/collective_rpc") == 2
    assert server.asked.count("/v1/completions") == 2 * (1 + 6)


def test_server_that_ignores_new_weights_ends_the_evaluation(folder):
    """Its head is 100 times as large; one response shows it, and no prompt is sampled."""
    server = FakeServer(folder / "first", deaf=True)
    with torch.no_grad():
        server.model.lm_head.weight.mul_(100)
    keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    with raises("engine-mismatch", "model first", "nats per token"):
        api.evaluate({"first": folder / "first"}, folder / "prompts.jsonl", **keys)
    server.close()
    assert server.asked.count("/v1/completions") == 1


def test_keys_of_the_engine_are_arguments_of_the_function():
    arguments = inspect.signature(api.evaluate).parameters
    for field in dataclasses.fields(RolloutConfig):
        assert arguments[field.name].default == field.default, field.name


def test_function_samples_by_the_engine(folder, server):
    """Greedy responses, from a server that is given the weights of both models."""
    options = {"num_generations": 1, "max_completion_length": 6, "bootstrap_samples": 50}
    options["temperature"] = 0.000001
    models = {name: folder / name for name in ("first", "second")}
    native = api.evaluate(models, folder / "prompts.jsonl", **options)
    keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    served = api.evaluate(models, folder / "prompts.jsonl", **options, **keys)
    assert [r.text for r in served.records] == [r.text for r in native.records]
    assert server.asked.count("/collective_rpc") == 2
    assert served.content["rollout_engine"] == "vllm"


def test_function_names_the_log_of_a_server_that_does_not_start(folder, tmp_path, monkeypatch):
    """The log is in a temporary folder, and not in the working directory."""
    monkeypatch.chdir(tmp_path)
    keys = {"rollout_engine": "vllm", "rollout_python": "/bin/false"}
    with raises("engine-lost", "rlhf-evaluate-", "rollout_server.log"):
        api.evaluate(folder / "first", folder / "prompts.jsonl", **keys)
    assert not list(tmp_path.iterdir())
    with raises("key-conflict", "rollout_python"):
        api.evaluate(folder / "first", folder / "prompts.jsonl", rollout_python="/bin/false")


@pytest.mark.parametrize(
    ("models", "code", "words"),
    [
        (("first", "narrow"), "unsupported", "num_attention_heads 4 and 2"),
        (("other",), "tokenizer-mismatch", "Say 0."),
    ],
)
def test_server_that_cannot_take_a_model_is_reported_before_sampling(
    evaluate, tmp_path, server, capsys, models, code, words
):
    assert evaluate(tmp_path / "run", *keys_of("fake server", server), models=models) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"[{code}]" in error
    assert words in error
    assert server.address in error
    assert "/v1/completions" not in server.asked


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--rollout_engine=vllm", "--rollout_server=http://127.0.0.1:9"], "engine-lost"),
        (["--rollout_server=http://127.0.0.1:9"], "key-conflict"),
        (["--rollout_engine=vllm", "--rollout_sleep=true"], "unknown-key"),
        (["--rollout_engine=vlm"], "bad-value"),
    ],
)
def test_unusable_keys_of_the_engine(evaluate, tmp_path, capsys, words, code):
    assert evaluate(tmp_path / "run", *words) == 2
    assert f"[{code}]" in capsys.readouterr().err
