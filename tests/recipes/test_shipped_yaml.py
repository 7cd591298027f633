"""Every YAML in recipes/ for two steps on tiny models; the results load with plain transformers.

Model, data, output_dir, numbers of steps, lengths and batch sizes are replaced; every other key
stays (bf16, use_peft, gradient_checkpointing, packing, learning rates, losses).
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.data.tokenization.chat import judged_ids, prompt_ids
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.rewards.model import RewardModel
from rlhf.training.sft.fine_tune import as_dataset
from rlhf.types import Demonstration
from tests.recipes.families import FAMILIES
from tests.recipes.two_steps import ROWS_OF, make_data
from tests.tiny_models import make_model

SLOW = pytest.mark.slow
# Files of other commands, pipelines of the files that are tested here, recipes of other
# architectures (test_named_recipes.py), and those with a reward function (test_smollm2.py).
ELSEWHERE = (
    *("accelerate/", "kubernetes/", "skypilot/", "suites/", "annotators", "align"),
    *("evaluate", "pretrain", "instructions_", "markov/methods", "rejection", "compare"),
    "generative",
    *("grpo", *(f"{name}/" for name in FAMILIES if name != "qwen2.5-0.5b")),
)
RECIPES = Path(__file__).parents[2] / "recipes"
ALL = sorted(path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.yaml"))
TRAINING = [name for name in ALL if not any(word in name for word in ELSEWHERE)]
QWEN = "qwen2.5-0.5b/"

ROWS = {
    "max_steps": 2,
    "save_steps": 1,
    "logging_steps": 1,
    "eval_steps": 2,
    "max_length": 128,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
}
REPLACED = {
    "sft": ROWS | {"num_samples": 2, "sample_max_new_tokens": 4},
    "reward_model": ROWS,
    "dpo": ROWS | {"num_samples": 2, "sample_max_new_tokens": 4},
    "kto": ROWS | {"num_samples": 2, "sample_max_new_tokens": 4},
    "ppo": {
        "max_steps": 2,
        "save_steps": 1,
        "logging_steps": 1,
        "eval_steps": 2,
        "rollout_batch_size": 8,
        "max_prompt_length": 96,
        "max_completion_length": 6,
        "max_tokens_per_microbatch": 256,
        "num_eval_prompts": 4,
    },
}
ROWS_OF_OBJECTIVE = {"outcome": "outcomes", "axes": "ratings"}
# Removed with the numbers of steps and rows to which they belong.
LEFT_OUT = ("num_train_epochs", "total_episodes", "eval_fraction", "save_total_limit")


def recipe_of(name: str) -> str:
    """The recipe that the file's name stands for."""
    kinds = {"sft": "sft", "reward": "reward_model", "rankings": "reward_model", "dpo": "dpo"}
    kinds |= {"kto": "kto", "ppo": "ppo"}
    return next(recipe for word, recipe in kinds.items() if word in Path(name).name)


def run(root, name, folder, data, *, model, reward=None):
    """Run the recipe in a subprocess with the file's keys and the replacements."""
    recipe, keys = recipe_of(name), yaml.safe_load((RECIPES / name).read_text())
    keys = {key: value for key, value in keys.items() if key not in LEFT_OUT}
    keys |= REPLACED[recipe] | {"model_name_or_path": str(model), "output_dir": str(folder)}
    rows = ROWS_OF_OBJECTIVE.get(keys.get("objective", ""), ROWS_OF[recipe])
    keys |= {"train_data": data[rows], "eval_data": data[rows], "cpu_threads": 1}
    if "normalization_data" in keys:
        keys["normalization_data"] = data["demonstrations"]
    if recipe == "ppo":
        keys["reward"] = [str(reward)]
        keys["critic_warmup_steps"] = min(1, keys.get("critic_warmup_steps", 0))
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(yaml.safe_dump(keys))
    command = [sys.executable, f"recipes/{recipe}.py", "--config", str(config)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 2
    return folder, lines


def check_sft(folder, lines, data):
    """The held-out loss is the mean over response tokens under the plain model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chat = load_tokenizer(str(folder))
    rows = [
        Demonstration(**json.loads(line))
        for line in Path(data["demonstrations"]).read_text().splitlines()
    ]
    nats = []
    for row in as_dataset(chat, rows):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])[1:]
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        trained = labels >= 0
        nats.append(-logprobs[trained].gather(1, labels[trained, None])[:, 0])
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line]
    # Under bf16 autocast the reported loss is rounded.
    assert losses[-1] == pytest.approx(float(torch.cat(nats).mean()), rel=1e-2)


def check_reward_model(folder):
    """The rewards in samples/ are (logit - mean) / std of the plain model."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    chat = load_tokenizer(str(folder), judges=True)
    for line in (folder / "samples" / "random.jsonl").read_text().splitlines():
        row = json.loads(line)
        for response in row["answers"].values():
            expected = reward(model, chat, row["prompt"], response["text"])
            assert response["scores"]["reward"] == pytest.approx(expected, abs=1e-4)


def check_rated(folder, objective):
    """The predictions in samples/ are those of the saved folder; the plain model has their sum."""
    model = RewardModel(folder)
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    for line in (folder / "samples" / "random.jsonl").read_text().splitlines():
        row = json.loads(line)
        [response] = row["answers"].values()
        outputs = model.score_axes([row["prompt"]], [response["text"]])[0].tolist()
        for axis, output in zip(model.axes, outputs, strict=True):
            expected = axis.mean + axis.std * output
            if objective == "outcome":
                expected = model.probabilities([row["prompt"]], [response["text"]])[0]
            assert response["scores"][axis.name] == pytest.approx(expected, abs=1e-4)
        total = sum(axis.weight * output for axis, output in zip(model.axes, outputs, strict=True))
        with torch.no_grad():
            ids = judged_ids(model.chat, row["prompt"], response["text"])
            logit = float(plain(torch.tensor([ids])).logits[0, 0])
        assert logit == pytest.approx(total, abs=1e-4)


def reward(model, chat, prompt, text) -> float:
    with torch.no_grad():
        logit = model(torch.tensor([judged_ids(chat, prompt, text)])).logits[0, 0]
    return (float(logit) - model.config.rlhf_reward_mean) / model.config.rlhf_reward_std


def check_dpo(folder, lines, data):
    """The held-out log-prob: the mean over prompts of their chosen responses, by plain softmax."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chat, means = load_tokenizer(str(folder)), []
    for line in Path(data["rankings"]).read_text().splitlines():
        row = json.loads(line)
        logprobs = []
        for response in row["responses"]:
            tokens = token_response(chat, row["prompt"], response)
            start, ids = len(tokens.prompt_ids), torch.tensor(tokens.response_ids)
            with torch.no_grad():
                logits = model(torch.tensor([[*tokens.prompt_ids, *ids]])).logits[0, start - 1 : -1]
            logprobs.append(float(logits.log_softmax(-1).gather(1, ids[:, None]).sum()))
        chosen = [logprobs[i] for i in range(len(logprobs)) for _ in range(i + 1, len(logprobs))]
        means.append(sum(chosen) / len(chosen))
    logged = [line["eval_chosen_logprob"] for line in lines if "eval_chosen_logprob" in line]
    assert logged[-1] == pytest.approx(sum(means) / len(means), rel=1e-3)


def check_ppo(folder, judge, *, bf16):
    """Scores of the plain reward model; log-probs of the sampled tokens under the plain policy.

    The file has tokens as text, in which invalid bytes look alike: a response is read up to the
    first token whose text belongs to several ids.
    """
    policy, chat = AutoModelForCausalLM.from_pretrained(folder).eval(), load_tokenizer(str(folder))
    ids_of: dict[str, list[int]] = {}
    for token in range(len(chat.tokenizer)):
        ids_of.setdefault(chat.tokenizer.decode([token]), []).append(token)
    tolerance, compared = 0.05 if bf16 else 1e-3, 0
    for line in (folder / "samples" / "tokens.jsonl").read_text().splitlines():
        row = json.loads(line)
        ids = prompt_ids(chat, row["prompt"])
        for token, logprob in zip(row["tokens"], row["logprobs"], strict=True):
            if len(ids_of.get(token, [])) != 1:
                break
            with torch.no_grad():
                logprobs = policy(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids += ids_of[token]
            assert float(logprobs[ids[-1]]) == pytest.approx(logprob, abs=tolerance)
            compared += 1
    assert compared >= 4
    if judge is None:
        return
    model = AutoModelForSequenceClassification.from_pretrained(judge, num_labels=1).eval()
    judging = load_tokenizer(str(judge), judges=True)
    keys = yaml.safe_load((folder / "config.yaml").read_text())
    mean, std = model.config.rlhf_reward_mean, model.config.rlhf_reward_std
    for line in (folder / "samples" / "random.jsonl").read_text().splitlines():
        row = json.loads(line)
        response = row["answers"]["after"]
        expected = reward(model, judging, row["prompt"], response["text"])
        if keys.get("normalize_reward") == "mean":
            expected *= std
        assert response["scores"]["reward"] == pytest.approx(
            expected, abs=tolerance * max(1.0, abs(mean))
        )


class Runs:
    """A Qwen2 base, data, and the runs that others build on, each run once."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.base, self.data = make_model(folder / "base", "qwen2"), make_data(folder)
        self.finished: dict[str, tuple[Path, list[dict[str, float]]]] = {}

    def run(self, name: str, *, model: Path, judge: Path | None = None):
        """The run folder of that file, and its metrics."""
        if name not in self.finished:
            folder = self.folder / name.replace("/", "-").removesuffix(".yaml")
            self.finished[name] = run(self.root, name, folder, self.data, model=model, reward=judge)
        return self.finished[name]

    def start_of(self, name: str) -> Path:
        """The model of the previous stage in a family with LoRA; else the base."""
        later = name in (f"{QWEN}reward_model-lora.yaml", f"{QWEN}ppo.yaml")
        return self.run(f"{QWEN}sft-lora.yaml", model=self.base)[0] if later else self.base


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    return Runs(root, tmp_path_factory.mktemp("yaml"))


def test_every_yaml_is_run_or_belongs_to_another_command():
    assert {recipe_of(name) for name in TRAINING} == {"sft", "reward_model", "dpo", "kto", "ppo"}
    assert len(TRAINING) >= 17
    for name in set(ALL) - set(TRAINING):
        assert any(word in name for word in ELSEWHERE)


def in_suite(name):
    """LoRA in bf16 runs by default; the others are slow tests."""
    return pytest.param(name, marks=() if name.endswith("-lora.yaml") else SLOW)


@pytest.mark.parametrize("name", [in_suite(n) for n in TRAINING if recipe_of(n) == "sft"])
def test_sft(runs, name):
    folder, lines = runs.run(name, model=runs.base)
    check_sft(folder, lines, runs.data)


@pytest.mark.parametrize("name", [in_suite(n) for n in TRAINING if recipe_of(n) == "reward_model"])
def test_reward_model(runs, name):
    folder, _ = runs.run(name, model=runs.start_of(name))
    objective = yaml.safe_load((RECIPES / name).read_text()).get("objective")
    check_reward_model(folder) if objective is None else check_rated(folder, objective)


@SLOW
@pytest.mark.parametrize("name", [n for n in TRAINING if recipe_of(n) == "dpo"])
def test_dpo(runs, name):
    folder, lines = runs.run(name, model=runs.base)
    check_dpo(folder, lines, runs.data)


@SLOW
@pytest.mark.parametrize("name", [n for n in TRAINING if recipe_of(n) == "kto"])
def test_kto(runs, name):
    folder, lines = runs.run(name, model=runs.base)
    first, *_, last = (line["eval_loss"] for line in lines if "eval_loss" in line)
    assert (round(first, 4), last < first) == (0.5, True)
    assert AutoModelForCausalLM.from_pretrained(folder)


@SLOW
@pytest.mark.parametrize("name", [n for n in TRAINING if recipe_of(n) == "ppo"])
def test_ppo(runs, name):
    start = runs.start_of(name)
    if start != runs.base:
        judged_by = f"{QWEN}reward_model-lora.yaml"
    else:
        # Raw prompts are scored by a reward model of raw prompts.
        raw = yaml.safe_load((RECIPES / name).read_text()).get("chat_template") == "none"
        judged_by = "stories260k/sentiment_reward.yaml" if raw else f"{QWEN}reward_model-full.yaml"
    judge, _ = runs.run(judged_by, model=runs.start_of(judged_by))
    folder, lines = runs.run(name, model=start, judge=judge)
    assert [line["grad_norm"] > 0 for line in lines if "grad_norm" in line][-1]
    keys = yaml.safe_load((RECIPES / name).read_text())
    check_ppo(folder, judge, bf16=keys.get("bf16", True))
