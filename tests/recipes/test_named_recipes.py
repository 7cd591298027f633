"""The recipes of named models: keys, template contract, sizes, and a step of each stage.

Models have two layers and random weights (see families.py). Model, data, folders, numbers of steps
and rows, and lengths are replaced; every other key of a file stays.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.data.config import DataConfig
from rlhf.data.tokenization.chat import encode_response, prompt_ids, prompt_text
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.models.config import ModelConfig
from rlhf.models.memory import count_parameters
from rlhf.pipeline.config import AlignConfig
from rlhf.recipes.shipped import RECIPES as SHIPPED
from rlhf.runtime.config import parse_config
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.settings import PPO_CLASSES, settings_of
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.fine_tune import IGNORED, as_dataset
from rlhf.types import Demonstration
from tests.recipes.families import FAMILIES, SHAPES, make_base, make_tokenizer, save_config
from tests.recipes.hub_rows import hub_rows, with_local_data

RECIPES = Path(__file__).parents[2] / "recipes"
IN_SUITE = "qwen3-1.7b"  # LoRA in every stage, and a template with thoughts; the others are slow
STAGES = ("sft", "reward_model", "ppo", "grpo", "evaluate")
CLASSES = {
    "sft": (RunConfig, ModelConfig, DataConfig, SFTConfig),
    "reward_model": (RunConfig, ModelConfig, DataConfig, RewardModelConfig),
    "ppo": PPO_CLASSES,
    "grpo": PPO_CLASSES,
    "evaluate": (RunConfig, EvaluateConfig, StudyConfig),
    "align": (RunConfig, AlignConfig),
}
ROWS = {
    "max_steps": 1,
    "save_steps": 1,
    "logging_steps": 1,
    "eval_steps": 1,
    "max_length": 256,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "num_samples": 2,
}
ROLLOUTS = {
    "max_steps": 2,
    "save_steps": 2,
    "logging_steps": 1,
    "eval_steps": 2,
    "rollout_batch_size": 16,
    "max_prompt_length": 224,
    "max_completion_length": 6,
    "max_tokens_per_microbatch": 512,
    "num_eval_prompts": 4,
}
REPLACED: dict[str, dict[str, Any]] = {
    "sft": ROWS | {"sample_max_new_tokens": 4},
    "reward_model": ROWS,
    "ppo": ROLLOUTS | {"critic_warmup_steps": 1},
    "grpo": ROLLOUTS,
    "evaluate": {
        "max_prompts": 4,
        "num_generations": 2,
        "max_prompt_length": 224,
        "max_completion_length": 6,
        "bootstrap_samples": 50,
    },
}
# Keys in which the files of a stage may differ between chat models: the model, LoRA or all weights.
OF_THE_MODEL = {
    "model_name_or_path", "output_dir", "chat_template_kwargs", "reward", "models", "reward_model",
    "use_peft", "mode", "lora_r", "lora_alpha", "learning_rate", "value_learning_rate",
    "gradient_checkpointing", "sft_config", "reward_model_config", "ppo_config", "evaluate_config",
}  # fmt: skip
# Qwen2.5-0.5B has its stages with LoRA and with all weights, and longer responses; the last one is
# a published reproduction.
OWN_KEYS = ("qwen2.5-0.5b", "pythia-1b-tldr")
LIKE_OTHERS = [name for name in FAMILIES if name not in OWN_KEYS]


def file_of(name: str, stage: str) -> Path:
    """The YAML file of a stage; of Qwen2.5-0.5B the one with all weights."""
    path = RECIPES / name / f"{stage}.yaml"
    return path if path.exists() else RECIPES / name / f"{stage}-full.yaml"


def keys_of(name: str, stage: str) -> dict[str, Any]:
    keys = yaml.safe_load(file_of(name, stage).read_text())
    assert isinstance(keys, dict)
    return keys


def chat_of(name: str, folder: Path):
    """The tokenizer as the recipe's SFT loads it."""
    family, keys = FAMILIES[name], keys_of(name, "sft")
    tokenizer = make_tokenizer(family)
    tokenizer.save_pretrained(folder)
    eos = tokenizer.convert_tokens_to_ids(list(family.generation_eos))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    variables = keys.get("chat_template_kwargs")
    return load_tokenizer(
        str(folder),
        keys.get("chat_template", "auto"),
        template_kwargs=parse_template_kwargs(json.dumps(variables)) if variables else None,
    )


def test_every_named_recipe_has_a_family_and_every_stage():
    assert (
        FAMILIES.keys()
        == SHAPES.keys()
        == {path.parent.name for path in RECIPES.glob("*/grpo.yaml")}
    )
    assert FAMILIES.keys() <= SHIPPED.keys()
    for name in FAMILIES:
        assert all(file_of(name, stage).is_file() for stage in CLASSES)


@pytest.mark.parametrize("stage", CLASSES)
@pytest.mark.parametrize("name", FAMILIES)
def test_keys_are_valid(name, stage, monkeypatch):
    monkeypatch.chdir(RECIPES.parent)
    words = ["--config", str(file_of(name, stage))]
    configs = parse_config(*CLASSES[stage], description=None, argv=words)
    if stage in ("ppo", "grpo"):
        assert settings_of(configs).ppo.has_critic == (stage == "ppo")
    if stage == "align":
        for key in ("sft_config", "reward_model_config", "ppo_config", "evaluate_config"):
            assert Path(getattr(configs[1], key)).is_file()


@pytest.mark.parametrize("stage", CLASSES)
def test_chat_models_differ_only_in_the_model_and_lora(stage):
    first, *others = (
        {key: value for key, value in keys_of(name, stage).items() if key not in OF_THE_MODEL}
        for name in LIKE_OTHERS
    )
    assert all(keys == first for keys in others)


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_is_the_same_with_four_processes(name):
    """The second command of the header divides the accumulation by four."""
    for stage in ("sft", "reward_model"):
        if name == "qwen2.5-0.5b":
            continue  # its files with all weights are for four processes
        accumulation = keys_of(name, stage)["gradient_accumulation_steps"]
        text = file_of(name, stage).read_text()
        assert f"--num_processes 4 --gradient_accumulation_steps {accumulation // 4}\n" in text
        assert accumulation % 4 == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_end_and_pad_are_those_of_the_family(name, tmp_path):
    chat, family = chat_of(name, tmp_path), FAMILIES[name]
    names = chat.tokenizer.convert_ids_to_tokens([chat.end_token_id, chat.pad_token_id])
    assert names == [family.end, family.pad]
    assert chat.end_token_id in chat.eos_token_ids
    assert chat.pad_token_id not in chat.eos_token_ids
    assert prompt_text(chat, "Hi") == family.prompt
    assert chat.tokenizer.decode(prompt_ids(chat, "Hi")) == family.prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_ids_begin_the_response_and_its_end_is_trained(name, tmp_path):
    """The template contract: what PPO samples from is what SFT trained after."""
    chat = chat_of(name, tmp_path)
    for response in ("Hello there, you!", " in two words"):
        encoded = encode_response(chat, "Name three things.", response)
        before = prompt_ids(chat, "Name three things.")
        assert encoded.ids[: len(before)] == before
        assert encoded.prompt_length == len(before)
        row = Demonstration(prompt="Name three things.", completion=response)
        (example,) = as_dataset(chat, [row])
        trained = [token for token in example["labels"] if token != IGNORED]
        assert trained[-1] == chat.end_token_id
        assert chat.tokenizer.decode(trained[:-1]).strip() == response.strip()


@pytest.mark.parametrize("name", [each for each in FAMILIES if FAMILIES[each].template])
def test_ids_are_those_of_plain_transformers(name, tmp_path):
    chat = chat_of(name, tmp_path)
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    plain = chat.tokenizer.apply_chat_template(
        talk, return_dict=False, **dict(chat.template_kwargs)
    )
    assert encode_response(chat, "Hi", "Hello.").ids == plain


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("smollm2-360m", 361.8), ("smollm2-1.7b", 1711.4), ("qwen2.5-0.5b", 494.0),
        ("qwen2.5-1.5b", 1543.7), ("qwen3-0.6b", 596.0), ("qwen3-1.7b", 1720.6),
        ("qwen3-4b", 4022.5), ("llama-3.2-1b", 1235.8), ("llama-3.2-3b", 3212.7),
        ("gemma-3-1b", 999.9), ("olmo-2-1b", 1484.9), ("pythia-1b-tldr", 1011.8),
    ],
)  # fmt: skip
def test_shape_has_the_parameters_of_the_checkpoint(name, millions, tmp_path):
    """Shared embeddings count once; Qwen3-4B: 36 * 100,930,816 + 151,936 * 2,560 + 2,560."""
    save_config(name, tmp_path)
    count = count_parameters(str(tmp_path), "CAUSAL_LM")
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def in_suite(name):
    return pytest.param(name, marks=() if name == IN_SUITE else pytest.mark.slow)


@pytest.mark.parametrize("name", [in_suite(each) for each in FAMILIES])
def test_one_step_of_each_stage(root, tmp_path, name):
    base, runs = make_base(tmp_path / "base", name), tmp_path / "runs"
    files = hub_rows(tmp_path)
    jobs = []
    for stage in STAGES:
        keys = with_local_data(keys_of(name, stage), files) | REPLACED[stage]
        keys.pop("total_episodes", None)
        keys["cpu_threads"] = 1
        text = yaml.safe_dump(keys).replace(f"runs/{name}", str(runs))
        config = tmp_path / f"{stage}.yaml"
        config.write_text(text)
        recipe = "ppo" if stage == "grpo" else stage
        start = ["--model_name_or_path", str(base)] if stage == "sft" else []
        jobs.append([f"recipes/{recipe}.py", ["--config", str(config), *start]])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "tests/recipes/run_stages.py", str(tmp_path / "jobs.json")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-4000:]
    for stage in ("sft", "ppo", "grpo"):
        model = AutoModelForCausalLM.from_pretrained(runs / stage)
        assert all(weight.isfinite().all() for weight in model.parameters())
        lines = [json.loads(line) for line in (runs / stage / "metrics.jsonl").open()]
        assert max(line["step"] for line in lines) == REPLACED[stage]["max_steps"]
    judge = AutoModelForSequenceClassification.from_pretrained(runs / "reward_model", num_labels=1)
    with torch.no_grad():
        assert judge(torch.tensor([[5, 6, 7]])).logits.isfinite().all()
    results = json.loads((runs / "evaluation" / "evaluation.json").read_text())["results"]
    assert {result["model"] for result in results} >= {"sft", "ppo"}
