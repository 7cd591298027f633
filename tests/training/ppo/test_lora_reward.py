"""Mode `lora` with a reward model that is an adapter of the same backbone: one model in memory."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import write_manifest
from rlhf.models.config import BackboneConfig, ModelConfig
from rlhf.models.load import new_reward_model
from rlhf.models.lora import add_lora
from rlhf.models.save import ADAPTER, merge_reward_model, save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.spec import RewardSpec
from rlhf.training.common.metrics import read_metrics
from rlhf.training.common.provenance import stage_manifest
from rlhf.training.ppo import models as ppo_models
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.trainer import PPOTrainer
from tests.training.ppo.tiny_ppo import make_folder, trainer

PROMPTS = ["Where is the ball?", "Who has the cup of Ann?"]
ANSWERS = ["In the garden.", "Tom has it, I think so."]


@pytest.fixture
def folder(tmp_path):
    """A policy, and a reward model that is a LoRA adapter of it, merged, the adapter beside it."""
    folder = make_folder(tmp_path / "models")
    policy = str(folder / "policy")
    config = ModelConfig(model_name_or_path=policy, use_peft=True, lora_r=4)
    model = add_lora(new_reward_model(policy, seed=1), config, "SEQ_CLS")
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # fresh ones are zero and change nothing
            parameter.data.normal_(std=0.2, generator=generator)
    reward = folder / "reward"
    merged = merge_reward_model(model, reward / ADAPTER)
    save_reward_model(reward, merged, load_tokenizer(policy), mean=0.1, std=0.5)
    return folder


def in_lora(folder, output_dir, **changes):
    options = {"mode": "lora", "lora_r": 4, "reward": [str(folder / "reward")]}
    return trainer(folder, output_dir, **options | changes)


def test_reward_adapter_scores_like_merged_model_and_is_frozen(folder, tmp_path):
    one = in_lora(folder, tmp_path / "run")
    assert any("is an adapter of the same backbone" in note for note in one.notes)
    (source,) = one.reward.sources
    expected = RewardModel(folder / "reward").score(PROMPTS, ANSWERS)
    assert abs(expected[0] - expected[1]) > 1e-3
    assert source.scorer.score(PROMPTS, ANSWERS) == pytest.approx(expected, abs=1e-5)
    names = [name for name, p in one.models.policy.named_parameters() if p.requires_grad]
    assert all(".default." in name or ".critic." in name for name in names)
    assert any(".critic." in name for name in names)


def test_shared_backbone_run_equals_run_with_whole_reward_model(folder, tmp_path, monkeypatch):
    in_lora(folder, tmp_path / "shared", max_steps=2, learning_rate=1e-2).train()
    monkeypatch.setattr(ppo_models, "_share_backbone", lambda setup, policy, reward: [])
    in_lora(folder, tmp_path / "whole", max_steps=2, learning_rate=1e-2).train()
    shared, whole = (read_metrics(tmp_path / name) for name in ("shared", "whole"))
    for name in ("score", "kl", "value_loss", "grad_norm"):
        expected = [line[name] for line in whole]
        assert [line[name] for line in shared] == pytest.approx(expected, abs=1e-4), name


def test_reward_adapter_of_a_changed_base_is_loaded_whole(folder, tmp_path):
    expected = RewardModel(folder / "reward").score(PROMPTS, ANSWERS)
    file = folder / "policy" / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.down_proj.weight"
    save_file(tensors | {name: tensors[name] * 1.5}, file, {"format": "pt"})
    one = in_lora(folder, tmp_path / "run")
    assert any("is loaded whole" in note for note in one.notes)
    scored = one.reward.sources[0].scorer.score(PROMPTS, ANSWERS)
    assert scored == pytest.approx(expected, abs=1e-6)
    assert not [name for name, _ in one.models.policy.named_parameters() if "reward_0" in name]


def test_manifest_reveals_a_base_change_that_bf16_hides(folder, tmp_path):
    """A thousandth of one matrix: less than the rounding that two passes are forgiven."""
    policy, reward = folder / "policy", folder / "reward"
    chat = load_tokenizer(str(policy))
    made = stage_manifest(
        reward, stage="reward_model", base_model=str(policy), chat=chat, seed=0, world_size=1,
        data=[], configs=[],
    )  # fmt: skip
    write_manifest(reward, made)
    one = in_lora(folder, tmp_path / "same", bf16=True)
    assert any("is an adapter of the same backbone" in note for note in one.notes)
    file = policy / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.down_proj.weight"
    save_file(tensors | {name: tensors[name] * 1.001}, file, {"format": "pt"})
    one = in_lora(folder, tmp_path / "changed", bf16=True)
    assert any("is loaded whole" in note for note in one.notes)


def test_bf16_backbone_and_fp32_adapters_dtypes(folder, tmp_path):
    one = in_lora(folder, tmp_path / "run", bf16=True, max_steps=1)
    for name, parameter in one.models.policy.named_parameters():
        if "base_layer" in name or "lm_head" in name:
            assert parameter.dtype == torch.bfloat16, name
        if ".default." in name or ".critic." in name:
            assert parameter.dtype == torch.float32, name
    one.train()
    (line,) = read_metrics(tmp_path / "run")
    assert line["first_ratio"] == pytest.approx(1.0, abs=1e-2)
    saved = load_file(tmp_path / "run/checkpoint-1/adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


@pytest.mark.parametrize("mode", ["lora", "separate"])
def test_labelled_reward_model_is_found_by_its_path(folder, mode):
    reward = RewardSpec(str(folder / "reward"), label="quality")
    config = PPOConfig(
        max_steps=1, rollout_batch_size=2, num_minibatches=1, max_completion_length=4, mode=mode
    )
    backbone = BackboneConfig(model_name_or_path=str(folder / "policy"), bf16=False)
    one = PPOTrainer(backbone, PROMPTS, reward, config=config)
    expected = "quality is an adapter" if mode == "lora" else f"starts from {folder / 'reward'},"
    assert any(expected in note for note in one.notes)
    assert one.setup.settings.reward.reward == [str(folder / "reward")]
    one.train()
    assert one.metrics[-1]["step"] == 1
