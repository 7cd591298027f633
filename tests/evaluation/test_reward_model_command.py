"""`rlhf evaluate-reward-model`: the benchmark of a classifier, a policy, a function, a length."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.benchmarks.implicit import implicit_reward
from rlhf.evaluation.reward_model_command import main
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.errors import raises
from tests.tiny_models import make_model

THINGS = ("ball", "cat", "dog", "bird")
GOLD = """
def colour(prompts, completions, **columns):
    return [float("red" in text) for text in completions]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reward model, a policy with its reference, a function, and rows of two benchmarks."""
    folder = tmp_path_factory.mktemp("benchmarks")
    make_model(folder / "reference", seed=0)
    make_model(folder / "policy", seed=1)
    chat = load_tokenizer(str(folder / "reference"))
    reward = new_reward_model(folder / "reference", seed=0)
    save_reward_model(folder / "reward", reward, chat, 100.0, 3.0)
    (folder / "gold.py").write_text(GOLD)
    four = [
        {
            "id": str(n),
            "prompt": f"Where is the {thing}?",
            "chosen": [f"The red {thing}."],
            "rejected": [f"A {thing}.", "No", "In the box by the sea."],
            "subset": "Focus" if n % 2 else "Math",
        }
        for n, thing in enumerate(THINGS)
    ]
    pairs = [
        {
            "pair_id": str(n),
            "question": f"Name a {thing}",
            "response_A": f"The red {thing}",
            "response_B": "No",
            "label": "A>B" if n else "B>A",
            "source": "livebench-math",
        }
        for n, thing in enumerate(THINGS)
    ]
    for name, rows in (("rewardbench2", four), ("judgebench", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(folder, output, benchmark, *words):
    data = f"--data={folder / benchmark}.jsonl"
    keys = [f"--benchmark={benchmark}", data, f"--output_dir={output}", "--cpu_threads=1"]
    assert main([*keys, *words]) == 0
    content = json.loads((output / f"{benchmark}.json").read_text())
    lines = (output / f"{benchmark}_cases.jsonl").read_text().splitlines()
    results = {(row["metric"], row["subset"]): row for row in content["results"]}
    return content, results, [json.loads(line) for line in lines]


def test_reward_model_gives_its_raw_logits(folder, tmp_path, capsys):
    """Not (logit - 100) / 3, which float32 rounds. The table is printed and written."""
    words = [f"--reward_model={folder / 'reward'}"]
    content, results, cases = run(folder, tmp_path, "rewardbench2", *words)
    texts = ["The red cat.", "A cat.", "No", "In the box by the sea."]
    expected = RewardModel(folder / "reward").score(["Where is the cat?"] * 4, texts)
    assert cases[1]["scores"] == pytest.approx(expected, abs=1e-5)
    best = [case["scores"][0] == max(case["scores"]) for case in cases]
    assert results["accuracy", "Focus"]["value"] == pytest.approx((best[1] + best[3]) / 2)
    score = results["score", None]["value"]
    assert score == pytest.approx(sum(best) / 4)
    assert content["data"][f"{folder / 'rewardbench2'}.jsonl"]
    printed = capsys.readouterr().out
    assert "rewardbench2" in printed
    assert "accuracy, Focus" in printed


def test_function_and_length_are_rewards(folder, tmp_path):
    """The chosen responses are red. Lengths: `In the box by the sea.` is longest, never chosen."""
    gold = f"--reward_model={folder / 'gold.py'}:colour"
    assert run(folder, tmp_path, "rewardbench2", gold)[1]["score", None]["value"] == 1.0
    length = run(folder, tmp_path, "rewardbench2", "--reward_model=length")
    assert length[1]["score", None]["value"] == 0.0
    assert length[2][0]["scores"] == [13.0, 7.0, 2.0, 22.0]


def test_implicit_reward_is_the_ratio_to_the_reference(folder, tmp_path):
    """Against log-probs of plain transformers on the templated text."""
    words = [f"--policy={folder / 'policy'}", f"--reference={folder / 'reference'}"]
    _, results, cases = run(folder, tmp_path, "judgebench", *words)
    models = [
        AutoModelForCausalLM.from_pretrained(folder / name) for name in ("policy", "reference")
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    responses = ["No", "The red ball"]  # the better one first: label B>A
    expected = [
        _logprob(models[0], tokenizer, "Name a ball", response)
        - _logprob(models[1], tokenizer, "Name a ball", response)
        for response in responses
    ]
    assert cases[0]["scores"] == pytest.approx(expected, abs=1e-4)
    right = [case["scores"][0] > case["scores"][1] for case in cases]
    assert results["score", None]["value"] == pytest.approx(sum(right) / 4)
    alone = [f"--policy={folder / 'policy'}", "--reference=none", "--per_token=true"]
    cases = run(folder, tmp_path, "judgebench", *alone)[2]
    one = _logprob(models[0], tokenizer, "Name a ball", "No", mean=True)
    assert cases[0]["scores"][0] == pytest.approx(one, abs=1e-4)


def _logprob(model, tokenizer, prompt, response, *, mean=False):
    """Of the response and its end token after the templated prompt."""
    turns = [{"role": "user", "content": prompt}]
    start = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    whole = [*turns, {"role": "assistant", "content": response}]
    text = tokenizer.apply_chat_template(whole, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = len(tokenizer(start, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    logprobs = logits.log_softmax(-1)[begin - 1 : -1]
    values = logprobs.gather(1, torch.tensor(ids[begin:])[:, None])
    return float(values.mean() if mean else values.sum())


@pytest.mark.parametrize(
    ("loss", "reference", "per_token"),
    [("sigmoid", "base", False), ("ipo", "base", True), ("simpo", None, True)],
)
def test_dpo_run_names_its_reference(tmp_path, loss, reference, per_token):
    keys = f"output_dir: x\nmodel_name_or_path: base\nloss_type: {loss}\nbeta: 0.1\n"
    (tmp_path / "config.yaml").write_text(keys)
    reward = implicit_reward(str(tmp_path), None, None)
    assert (reward.reference, reward.per_token) == (reference, per_token)
    assert implicit_reward(str(tmp_path), "other", False).reference == "other"


def test_policy_without_a_reference_raises(folder):
    with raises("missing-key", "reference", "policy"):
        implicit_reward(str(folder / "policy"), None, None)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--benchmark=llmbar", "--data=x.json"], "missing-key", "reward_model"),
        (["--benchmark=llmbar", "--reward_model=length"], "missing-key", "data"),
        (["--data=x.json", "--reward_model=length"], "missing-key", "benchmark"),
        (["--reward_model=length"], "missing-key", "rankings"),
        (["--rankings=x.jsonl"], "missing-key", "reward_model"),
        (["--benchmark=llmbor", "--data=x.json"], "bad-value", "llmbar"),
        (
            ["--benchmark=llmbar", "--data=x", "--reward_model=length", "--rankings=y"],
            "key-conflict",
            "rankings",
        ),
        (
            ["--benchmark=llmbar", "--data=x", "--reward_model=length", "--policy=y"],
            "key-conflict",
            "policy",
        ),
        (["--benchmark=llmbar", "--data=x", "--reference=y"], "key-conflict", "reference"),
        (
            ["--benchmark=llmbar", "--data=x", "--llm_judge=http://127.0.0.1:1/v1"],
            "missing-key",
            "llm_judge_model",
        ),
        (
            ["--benchmark=llmbar", "--data=x", "--llm_judge=http://127.0.0.1:1/v1", "--bf16=true"],
            "key-conflict",
            "bf16",
        ),
    ],
)
def test_keys_that_do_not_fit_raise(tmp_path, words, code, named):
    with raises(code, named):
        main([f"--output_dir={tmp_path / 'out'}", *words])


def test_judge_of_pairs_needs_a_benchmark_of_pairs(folder, tmp_path):
    with raises("key-conflict", "rewardbench2", "llm_judge"):
        run(folder, tmp_path, "rewardbench2", f"--llm_judge={folder / 'policy'}")


def test_local_judge_compares_pairs(folder, tmp_path, monkeypatch):
    """A model with random weights gives no verdict: no pair is decided correctly."""
    dtypes = []

    def load(path, *, dtype):
        dtypes.append(dtype)
        return load_policy(path, dtype=dtype)

    monkeypatch.setattr("rlhf.evaluation.judges.llm.load_policy", load)
    words = [f"--llm_judge={folder / 'policy'}", "--llm_judge_max_tokens=4", "--bf16=true"]
    content, results, cases = run(folder, tmp_path, "judgebench", *words)
    assert dtypes == [torch.bfloat16]
    assert results["score", None]["value"] == 0.0
    assert content["order_decides"] is None
    assert cases[0]["verdicts"] == [{"pair": [0, 1], "better_first": None, "worse_first": None}]
