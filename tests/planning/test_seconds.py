"""Seconds of SFT and reward-model steps, and what LoRA, checkpointing and precision change."""

from dataclasses import replace

import pytest

from rlhf.models.shape import forward_flops
from rlhf.planning.case import Achieved
from rlhf.planning.machines import Machine
from rlhf.planning.seconds import distinct_prompts, score_seconds, update_seconds
from rlhf.planning.training_seconds import step_seconds, step_tokens
from tests.planning.shapes import SMALL
from tests.planning.test_memory import BATCH, case, training

# Seconds are operations; bytes and starts of operations take no time.
UNIT = Machine(name="unit", flops=1.0, fp32_flops=1.0, memory_rate=1e99, memory=1 << 60)
EXACT = Achieved(matmul=1.0, memory=1.0, link=1.0, launch=0.0)


def exact(**others):
    return training(machine=UNIT, achieved=EXACT, **others)


def test_sft_step_is_three_forward_passes_and_the_logits_again():
    """8 rows of 64 tokens."""
    forward = forward_flops(SMALL, tokens=512, rows=8, logits=512)
    assert step_tokens(exact()) == 512
    seconds = step_seconds(exact(), sharded=False)
    assert seconds["matmul"] == pytest.approx(3 * forward + 2 * SMALL.embedding * 512)


def test_reward_step_has_no_logits_and_all_responses():
    forward = forward_flops(SMALL, tokens=2048, rows=32)
    pairs = exact(task="reward_model", responses=4)
    assert step_seconds(pairs, sharded=False)["matmul"] == pytest.approx(3 * forward)


def test_packed_rows_compute_all_pairs_of_their_batch():
    """8 rows of 128 tokens: 1024 * 1024 pairs, 4 * 128 operations each, in 3 layers; not packed,
    8 rows have 128² / 2 pairs each."""
    packed = step_seconds(exact(packed=True), sharded=False)["matmul"]
    plain = step_seconds(exact(mean_length=128), sharded=False)["matmul"]
    assert packed - plain == pytest.approx(3 * 4 * 128 * 3 * (1024**2 - 8 * 128**2 / 2))


def test_lora_has_one_backward_product_and_checkpointing_another_forward_pass():
    full = exact(task="reward_model")
    seconds = [
        step_seconds(changed, sharded=False)["matmul"]
        for changed in (full, replace(full, adapter=10), replace(full, checkpointing=True))
    ]
    assert [value / seconds[0] for value in seconds] == pytest.approx([1, 2 / 3, 4 / 3])


def test_float32_uses_the_rate_of_float32():
    slow = replace(UNIT, fp32_flops=0.25)
    runs = [
        update_seconds(case(machine=slow, achieved=EXACT, bf16=on), sharded=False)["matmul"]
        for on in (True, False)
    ]
    assert runs[1] == pytest.approx(4 * runs[0])


def test_every_reward_model_is_read():
    one, two = (
        score_seconds(
            case(machine=UNIT, achieved=EXACT, reward_models=(SMALL,) * count), sharded=False
        )["reward model matmul"]
        for count in (1, 2)
    )
    assert two == pytest.approx(2 * one)


def test_rows_of_a_prompt_share_it_on_a_cpu():
    """Four rows in one part share all: a quarter. In two parts, a part misses a prompt with
    probability 1/16, and has 2 of its rows otherwise on average: 15/32."""
    batch = replace(BATCH, num_prompts=16, num_generations=4)
    on_cpu = case(batch=batch, machine=replace(UNIT, on_gpu=False))
    assert [distinct_prompts(on_cpu, parts) for parts in (1, 2)] == [1 / 4, 15 / 32]
    assert distinct_prompts(case(batch=batch), 1) == 1


def test_lora_updates_the_backbone_twice_for_policy_and_critic():
    """Two passes forward and backward each, next to 3 of policy and critic."""
    lora = case(machine=UNIT, achieved=EXACT, mode="lora", adapter=10)
    forward = forward_flops(SMALL, tokens=1024, rows=16)
    logits = 2 * SMALL.embedding * 512
    seconds = update_seconds(lora, sharded=False)["matmul"]
    assert seconds == pytest.approx(BATCH.num_minibatches * 2 * (2 * forward + logits))
