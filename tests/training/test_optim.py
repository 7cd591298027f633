"""`optim`: AdamW with moments in bf16 or 8 bits, in SFT, reward models and PPO."""

from typing import get_args

import pytest
import torch

from rlhf.models.config import ModelConfig
from rlhf.training.common import optimizer as optimizer_module
from rlhf.training.common.bf16_adamw import BF16AdamW, round_at_random
from rlhf.training.common.config import Optim
from rlhf.training.common.optimizer import check_optim, moment_bytes, small_adamw
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder
from tests.training.ppo.tiny_ppo import trainer as ppo_trainer
from tests.training.test_model_keys import DEMONSTRATIONS, KEYS, RANKINGS
from tests.training.tiny_runs import assert_same_weights


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


def skip_without_package(optim):
    if optim == "adamw_8bit":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


@pytest.mark.parametrize("optim", ["adamw_bf16", "adamw_8bit"])
@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_resumed_run_is_bit_identical(policy, tmp_path, train, optim):
    skip_without_package(optim)
    whole = train(policy, tmp_path / "whole", optim=optim)
    again = train(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-2", optim=optim)
    assert_same_weights(whole, again, rtol=0, atol=0)
    plain = train(policy, tmp_path / "plain")
    pairs = zip(whole.parameters(), plain.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("optim", ["adamw_bf16", "adamw_8bit"])
@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_checkpoint_of_another_optimizer_is_rejected(policy, tmp_path, train, optim):
    skip_without_package(optim)
    train(policy, tmp_path / "run")
    with raises("other-run", "optim"):
        train(policy, tmp_path / "again", tmp_path / "run" / "checkpoint-2", optim=optim)


def test_rounding_at_random_is_exact_in_expectation():
    """1 + 2**-9 is a quarter of the way from 1 to the next bf16 number, 1 + 2**-7.

    Of 40,000 numbers a quarter is rounded up, with a standard deviation of 87.
    """
    generator = torch.Generator().manual_seed(0)
    for sign in (1, -1):
        rounded = round_at_random(torch.full((40_000,), sign * (1 + 2**-9)), generator).float()
        up = rounded == sign * (1 + 2**-7)
        assert ((rounded == sign) | up).all()
        assert up.sum().item() == pytest.approx(10_000, abs=350)


def test_bf16_numbers_are_not_rounded():
    numbers = torch.tensor([0.0, -0.5, 3.140625, 1e-30, -(2.0**100)]).bfloat16()
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(round_at_random(numbers.float(), generator), numbers)


def test_second_moment_falls_in_bf16():
    """Gradients of 1 for 50 steps, then of 0 for 500: v = (1 - β₂⁵⁰) β₂⁵⁰⁰ = 0.0296 on average.

    The nearest bf16 number would stay: a step changes v by a thousandth, and half the distance of
    two bf16 numbers is at least a 512th.
    """
    weight = torch.nn.Parameter(torch.zeros(4096))
    optimizer = BF16AdamW([weight], lr=0.0)
    for step in range(550):
        weight.grad = torch.full_like(weight, float(step < 50))
        optimizer.step()
    moment = optimizer.state[weight]["exp_avg_sq"]
    assert moment.dtype == torch.bfloat16
    expected = (1 - 0.999**50) * 0.999**500
    assert moment.float().mean().item() == pytest.approx(expected, rel=0.01)


def test_first_step_moves_a_weight_by_the_learning_rate():
    """Bias correction makes both moments the gradient's: 1 - lr · wd · 1 - lr · sign."""
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = BF16AdamW([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.tensor([3.0, -0.01])
    optimizer.step()
    torch.testing.assert_close(weight.data, torch.tensor([0.95 - 0.1, 0.95 + 0.1]))


def test_bf16_optimizer_leaves_random_generators_alone():
    weight = torch.nn.Parameter(torch.zeros(8))
    weight.grad = torch.ones(8)
    state = torch.get_rng_state()
    BF16AdamW([weight], lr=0.1).step()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("bitsandbytes")
def test_moments_take_two_bytes_per_weight():
    """And 8 bytes per block of 256 numbers for both scales."""
    weight = torch.nn.Parameter(torch.randn(256, 256))
    optimizer = small_adamw([weight], "adamw_8bit", lr=1e-3)
    weight.square().sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    assert (state["state1"].dtype, state["state2"].dtype) == (torch.uint8, torch.uint8)
    assert state["absmax1"].numel() == state["absmax2"].numel() == 256


@pytest.mark.parametrize(("optim", "rel"), [("adamw_bf16", 0.01), ("adamw_8bit", 0.1)])
def test_steps_are_close_to_those_of_adamw(optim, rel):
    """A least-squares problem of 8,192 weights, 60 steps."""
    skip_without_package(optim)
    losses = {}
    for kind in ("torch", optim):
        torch.manual_seed(0)
        inputs, target = torch.randn(512, 128), torch.randn(512, 64)
        weight = torch.nn.Parameter(torch.zeros(64, 128))
        if kind == "torch":
            optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.0)
        else:
            optimizer = small_adamw([weight], optim, lr=1e-2)
        start = target.square().mean().item()
        for _ in range(60):
            optimizer.zero_grad()
            loss = (inputs @ weight.T - target).square().mean()
            loss.backward()
            optimizer.step()
        losses[kind] = start - loss.item()
    assert losses[optim] == pytest.approx(losses["torch"], rel=rel)


def test_missing_package_or_device_is_an_error(monkeypatch):
    check_optim("adamw_torch")
    check_optim("adamw_bf16")
    monkeypatch.setattr(optimizer_module, "find_spec", lambda name: None)
    with raises("missing-package", "optim=adamw_8bit", "bitsandbytes"):
        check_optim("adamw_8bit")
    monkeypatch.setattr(optimizer_module, "find_spec", lambda name: True)
    check_optim("adamw_8bit")
    if not torch.cuda.is_available():
        with raises("unsupported", "optim=paged_adamw_8bit"):
            check_optim("paged_adamw_8bit")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    for optim in ("adamw_8bit", "adamw_bf16"):
        with raises("unsupported", f"optim={optim}", "FSDP"):
            check_optim(optim)
    check_optim("adamw_torch")
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with raises("unsupported", "optim=adamw_8bit", "DeepSpeed"):
        check_optim("adamw_8bit")


def test_unknown_optimizer_is_rejected():
    with raises("bad-value", "optim"):
        SFTConfig(optim="sgd")


def test_memory_plan_counts_the_bytes_of_both_moments():
    assert [moment_bytes(optim) for optim in get_args(Optim)] == [8, 4, 2, 2]
