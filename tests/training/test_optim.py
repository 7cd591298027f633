"""`optim`: AdamW with moments in 8 bits, in SFT, reward models and PPO."""

from typing import get_args

import pytest
import torch

from rlhf.models.config import ModelConfig
from rlhf.training.common import optimizer as optimizer_module
from rlhf.training.common.config import Optim
from rlhf.training.common.optimizer import check_optim, eight_bit_adamw, moment_bytes
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder
from tests.training.ppo.tiny_ppo import trainer as ppo_trainer
from tests.training.test_model_keys import DEMONSTRATIONS, KEYS, RANKINGS
from tests.training.tiny_runs import assert_same_weights

EIGHT_BIT = {"optim": "adamw_8bit"}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("optim")) / "policy"


@pytest.fixture
def bitsandbytes():
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


def sft(path, folder, resume=None, **keys):
    model = ModelConfig(model_name_or_path=str(path), bf16=False)
    one = SFTTrainer(model, DEMONSTRATIONS, config=SFTConfig(**KEYS | keys), output_dir=folder,
                     resume_from_checkpoint=resume)  # fmt: skip
    one.train()
    return one._model


def reward(path, folder, resume=None, **keys):
    model = ModelConfig(model_name_or_path=str(path), bf16=False)
    one = RewardTrainer(model, RANKINGS, config=RewardModelConfig(**KEYS | keys),
                        output_dir=folder, resume_from_checkpoint=resume)  # fmt: skip
    one.train()
    return one._scores.scorer.model


def ppo(path, folder, resume=None, **keys):
    one = ppo_trainer(path.parent, folder, resume, max_steps=4, **keys)
    one.train()
    return one.models.policy


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_resumed_run_is_bit_identical(policy, tmp_path, train):
    whole = train(policy, tmp_path / "whole", **EIGHT_BIT)
    again = train(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-2", **EIGHT_BIT)
    assert_same_weights(whole, again, rtol=0, atol=0)
    plain = train(policy, tmp_path / "plain")
    pairs = zip(whole.parameters(), plain.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_checkpoint_of_another_optimizer_is_rejected(policy, tmp_path, train):
    train(policy, tmp_path / "run")
    with raises("other-run", "optim"):
        train(policy, tmp_path / "again", tmp_path / "run" / "checkpoint-2", **EIGHT_BIT)


@pytest.mark.usefixtures("bitsandbytes")
def test_moments_take_two_bytes_per_weight():
    """And 8 bytes per block of 256 numbers for both scales."""
    weight = torch.nn.Parameter(torch.randn(256, 256))
    optimizer = eight_bit_adamw([weight], "adamw_8bit", lr=1e-3)
    weight.square().sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    assert (state["state1"].dtype, state["state2"].dtype) == (torch.uint8, torch.uint8)
    assert state["absmax1"].numel() == state["absmax2"].numel() == 256


@pytest.mark.usefixtures("bitsandbytes")
def test_steps_are_close_to_those_of_adamw():
    """A least-squares problem of 8,192 weights: after 60 steps the losses differ by a tenth."""
    losses = {}
    for kind in ("torch", "8 bits"):
        torch.manual_seed(0)
        inputs, target = torch.randn(512, 128), torch.randn(512, 64)
        weight = torch.nn.Parameter(torch.zeros(64, 128))
        if kind == "torch":
            optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.0)
        else:
            optimizer = eight_bit_adamw([weight], "adamw_8bit", lr=1e-2)
        start = target.square().mean().item()
        for _ in range(60):
            optimizer.zero_grad()
            loss = (inputs @ weight.T - target).square().mean()
            loss.backward()
            optimizer.step()
        losses[kind] = start - loss.item()
    assert losses["8 bits"] == pytest.approx(losses["torch"], rel=0.1)


def test_missing_package_or_device_is_an_error(monkeypatch):
    check_optim("adamw_torch")
    monkeypatch.setattr(optimizer_module, "find_spec", lambda name: None)
    with raises("missing-package", "optim=adamw_8bit", "bitsandbytes"):
        check_optim("adamw_8bit")
    monkeypatch.setattr(optimizer_module, "find_spec", lambda name: True)
    check_optim("adamw_8bit")
    if not torch.cuda.is_available():
        with raises("unsupported", "optim=paged_adamw_8bit"):
            check_optim("paged_adamw_8bit")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with raises("unsupported", "optim=adamw_8bit", "FSDP"):
        check_optim("adamw_8bit")
    check_optim("adamw_torch")


def test_unknown_optimizer_is_rejected():
    with raises("bad-value", "optim"):
        SFTConfig(optim="sgd")


def test_memory_plan_counts_two_bytes_for_both_moments():
    assert [moment_bytes(optim) for optim in get_args(Optim)] == [8, 2, 2]
