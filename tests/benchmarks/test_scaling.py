"""The predictions of docs/explanation/scaling.md: counts by hand, by torch, and by the planner."""

import re
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from benchmarks import scaling
from benchmarks.roofline import count_work
from benchmarks.scaling_cases import (
    BATCHES,
    GRPO,
    H200,
    MODELS,
    NUM_GPUS,
    PLANNED,
    PPO,
)
from benchmarks.shapes import LLAMA_8B, QWEN_05B, QWEN_15B
from benchmarks.workloads import Workload
from rlhf.models.generation.decoder import Decoder, Responses, sample
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.shape import ModelShape, forward_flops, key_value_bytes, trunk_weights
from rlhf.planning.activations import forward_bytes
from rlhf.planning.case import NATIVE, OPS_PER_LAYER, OPS_PER_STEP, Achieved, Batch, Case
from rlhf.planning.machines import Machine
from rlhf.planning.memory import memory, numerics
from rlhf.planning.seconds import (
    alive_after,
    decode_step,
    eos_hazard,
    gather_seconds,
    kept_shares,
    predict,
    score_seconds,
    update_seconds,
)

# Seconds are operations, then bytes: a machine of one operation and one byte per second.
UNIT = Machine(name="unit", flops=1.0, memory_rate=1.0, memory=1 << 60, nvlink=1.0, network=1.0)
EXACT = Achieved(
    matmul=1.0, memory=1.0, link=1.0, launch=0.0, all_reduce=0.0, engine_step=0.0, transfer_rate=1.0
)


def case(model: ModelShape, batch: Batch = PPO, *, num_gpus: int = 1, **others: object) -> Case:
    fields = {"engine": NATIVE, "machine": H200} | others
    return Case(model=model, batch=batch, num_gpus=num_gpus, **fields)


def config_of(model: ModelShape) -> PretrainedConfig:
    kind = Qwen2Config if model.bias else LlamaConfig
    return kind(
        num_hidden_layers=model.num_layers,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_attention_heads=model.num_heads,
        num_key_value_heads=model.num_kv_heads,
        vocab_size=model.vocab_size,
        tie_word_embeddings=model.tied,
        max_position_embeddings=4096,
    )


def test_parameters_are_those_of_the_published_models():
    """8B: 32 layers of 4096 (2 * 4096 + 2 * 1024 + 3 * 14336), 2 embeddings, 65 norms."""
    assert [model.parameters for model in MODELS] == [494_032_768, 1_543_714_304, 8_030_261_248]
    layers = 32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert layers == trunk_weights(LLAMA_8B) == 6_979_321_856
    assert layers + 2 * 128256 * 4096 + 65 * 4096 == 8_030_261_248
    assert LLAMA_8B.value_parameters == 8_030_261_248 - 128256 * 4096 + 4096


def test_forward_of_an_8b_token_is_about_16_gflop():
    """2 (6.979 + 0.525) G = 15.01; attention 4 * 4096 * 32 * 512 keys on average adds 0.27."""
    flops = forward_flops(LLAMA_8B, tokens=1024, rows=1, logits=1024) / 1024
    assert flops == pytest.approx(15.009e9 + 0.268e9, rel=1e-3)
    assert flops == pytest.approx(2 * LLAMA_8B.parameters, rel=0.05)  # 2 N, the rule of thumb


def test_forward_flops_are_those_that_torch_counts():
    """torch counts all pairs of tokens in attention, and the logits of every token."""
    small = replace(QWEN_05B, num_layers=2, intermediate_size=512, vocab_size=1000)
    model = AutoModelForCausalLM.from_config(config_of(small), attn_implementation="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(256)[None])
    causal = 4 * 896 * 2 * 256**2 / 2
    ours = forward_flops(small, tokens=256, rows=1, logits=256)
    assert ours + causal == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_update_of_ppo_has_the_operations_that_the_benchmark_counts():
    workload = Workload(
        name="8B",
        about="",
        num_layers=32,
        hidden_size=4096,
        intermediate_size=14336,
        num_heads=32,
        num_kv_heads=8,
        vocab_size=128256,
        prompt_lengths=(512, 512),
        max_response_length=512,
        eos_hazard=0.0,
        batch_size=512,
        num_epochs=1,
    )
    work = count_work(workload, prompt_tokens=512 * 512, response_tokens=512 * 512)
    # All responses of 512 tokens, on one GPU that does one operation per second.
    exact = case(LLAMA_8B, machine=replace(UNIT, memory_rate=1e99), achieved=EXACT)
    update = sum(update_seconds(exact, sharded=False).values())
    assert update == pytest.approx(work.update_flops)
    score = sum(score_seconds(exact, sharded=False).values())
    rollout = forward_flops(LLAMA_8B, tokens=512 * 1024, rows=512, logits=512 * 512)
    assert update + score + rollout == pytest.approx(work.flops)


def test_adamw_touches_40_bytes_per_parameter():
    """Weight, gradient and two moments read, three written: 7; the gradient written, and read and
    written by clipping: 3; 4 bytes each. 1.5B: 61.7 GB, shared by 8 GPUs 7.7 GB."""
    exact = case(QWEN_15B, GRPO, num_gpus=8, machine=UNIT, achieved=EXACT)
    step = update_seconds(exact, sharded=False)["optimizer"] / 4
    assert step == pytest.approx(61.75e9, rel=1e-3)
    assert update_seconds(exact, sharded=True)["optimizer"] / 4 == pytest.approx(step / 8)


def test_step_reads_weights_once_and_the_keys_of_every_row():
    """0.5B: 2 (357.8 + 136.1) M weights = 988 MB; 2 * 24 * 128 * 2 = 12,288 bytes per token."""
    assert key_value_bytes(QWEN_05B, 2) == 12_288
    machine = replace(UNIT, flops=1e99)
    exact = case(QWEN_05B, engine=PLANNED, machine=machine, achieved=EXACT)
    step = decode_step(exact, rows=10, context=100)
    assert step["weight reads"] == 2 * (trunk_weights(QWEN_05B) + 151936 * 896) == 987_922_432
    assert step["key-value reads"] == 10 * 100 * 12_288
    halves = decode_step(exact, rows=10, context=100, tensor_parallel=2)
    assert halves["weight reads"] == step["weight reads"] / 2
    # Two all-reduces in 24 layers, 2 (t - 1) / t = 1 times 10 rows of 896 numbers of 2 bytes.
    assert halves["all-reduce"] == 2 * 24 * 10 * 896 * 2


def test_native_step_of_few_rows_waits_for_launches():
    """(24 * 45 + 68) operations at 10 µs: 11.48 ms, whatever the number of rows."""
    assert decode_step(case(QWEN_05B), rows=8, context=700) == {"launches": pytest.approx(11.48e-3)}


def test_ring_sends_each_byte_once_less_the_own_share():
    exact = case(QWEN_05B, num_gpus=8, machine=UNIT, achieved=EXACT)
    assert gather_seconds(exact, 80.0) == 70.0
    # In a node NVLink; between nodes eight links of 400 Gb/s, shared by eight GPUs' rings.
    assert H200.link_rate(8) == 450e9
    assert H200.link_rate(64) == 8 * 400e9 / 8


def test_response_lengths_have_the_mean_of_the_batch():
    """Rows that compute step t are those unfinished after t tokens; the first token needs none."""
    assert eos_hazard(512, 1024) == pytest.approx(1.5936 / 1024, rel=1e-3)  # (1 - e^-x) / x = 1/2
    for batch in (PPO, replace(PPO, mean_response=2048, max_response=4096)):
        assert 1 + sum(kept_shares(batch, 1.0)) == pytest.approx(batch.mean_response)
    assert alive_after(PPO, 1024) == pytest.approx(0.203, abs=1e-3)


def test_native_decoder_computes_some_finished_rows():
    """It drops them at three quarters: the rows computed are at most 4/3 of the unfinished ones."""
    shares, alive = list(kept_shares(PPO, 0.75)), list(kept_shares(PPO, 1.0))
    assert all(a <= share <= a / 0.75 + 1e-9 for a, share in zip(alive, shares, strict=True))
    assert len(set(shares)) == 6  # 1, then 3/4 of the last, down to a fifth: (3/4)^5 = 0.24


def test_sharded_8b_holds_its_share_and_a_whole_reward_model():
    """GRPO on 8 GPUs: 12 + 4 bytes per parameter over 8, and the reward model's 2 per weight of
    its layers and 4 per other one: 16.06 + 13.96 + 2.10 = 32.1 GB. A rollout adds the policy in
    float32 (32.1) and its products in bf16 (15.0), and 128 rows of 1536 * 131,072 bytes (25.8).
    Next to these there are either 128 * 128,256 logits in five float32 tensors (0.33), or what
    reading 16 prompts of 512 tokens holds: 8192 * (6 * 14,336 + 12 * 4096) bytes (1.11)."""
    needed = memory(case(LLAMA_8B, GRPO, num_gpus=8), sharded=True)
    assert needed.held == pytest.approx(32.12e9, rel=1e-3)
    added = {name: sum(parts.values()) for name, parts in needed.phases.items()}
    assert added["rollout"] == pytest.approx((32.12 + 15.01 + 25.77 + 1.11) * 1e9, rel=1e-3)
    reading = 8192 * forward_bytes(LLAMA_8B, numerics(case(LLAMA_8B, GRPO)))
    assert needed.phases["rollout"]["activations"] == reading == pytest.approx(1.107e9, rel=1e-3)
    assert needed.phases["score"]["gathered weights"] == 4 * LLAMA_8B.parameters  # the reference
    engine = memory(case(LLAMA_8B, GRPO, num_gpus=8, engine=PLANNED), sharded=True)
    added = sum(engine.phases["rollout"].values())
    assert added == pytest.approx((16.06 + 25.77 + 1.11) * 1e9, rel=1e-3)


def test_8b_needs_several_gpus():
    for batch in BATCHES:
        assert predict(case(LLAMA_8B, batch)) is None
        assert predict(case(LLAMA_8B, batch, num_gpus=8)).sharding == "FSDP2"


@pytest.mark.parametrize("engine", [NATIVE, PLANNED], ids=lambda engine: engine.name)
def test_more_gpus_are_never_slower(engine):
    for batch in BATCHES:
        for model in MODELS:
            predictions = [predict(case(model, batch, num_gpus=n, engine=engine)) for n in NUM_GPUS]
            seconds = [prediction.seconds for prediction in predictions if prediction]
            assert seconds == sorted(seconds, reverse=True)


def test_native_step_has_the_operations_that_are_assumed():
    """Operations that return no view, in a step of two models of different depth."""
    few, many = (_operations_of_a_step(layers) for layers in (2, 6))
    per_layer = (many - few) / 4
    assert per_layer == pytest.approx(OPS_PER_LAYER, abs=5)  # it changes with transformers
    assert few - 2 * per_layer == pytest.approx(OPS_PER_STEP, abs=10)


def test_page_has_the_tables_of_the_program():
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table: (\w+) -->", page)) == set(scaling.TABLES)
    assert page == scaling.with_tables(page), "run python -m benchmarks.scaling --write"


class _Operations(TorchDispatchMode):
    """Counts operators whose result is no view."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func._schema.returns
        is_view = any(r.alias_info and not r.alias_info.is_write for r in results)
        self.count += not is_view and func._schema.name != "aten::_unsafe_view"
        return func(*args, **(kwargs or {}))


def _operations_of_a_step(num_layers: int) -> int:
    small = replace(
        QWEN_05B, num_layers=num_layers, hidden_size=64, intermediate_size=64, num_heads=4,
        vocab_size=64,
    )  # fmt: skip
    model, cpu = AutoModelForCausalLM.from_config(config_of(small)).eval(), torch.device("cpu")
    batch = prompt_batch(
        [[1, 2, 3], [4]], ["", ""], prompt_indices=[0, 1], num_responses=1, pad_token_id=0,
        device=cpu,
    )  # fmt: skip
    decoder = Decoder(model, batch, 4, cuda_graphs=False)
    responses, counter = Responses(2, 4, 0, cpu), _Operations()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = decoder.read_prompts().argmax(-1)
        decoder.fused = None  # on a GPU, the step is that of the model
        logits = decoder.step(tokens, 0)  # casts the weights
        with counter:
            sampled = sample(logits, torch.rand(2, 4)[decoder.rows, 1], 1.0)
            stops = torch.isin(sampled.tokens, torch.tensor([99]))
            responses.write(1, decoder.rows, decoder.alive, sampled, stops)
            decoder.any_left(stops)
            decoder.step(sampled.tokens, 1)
    return counter.count
