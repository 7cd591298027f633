"""Memory of PPO by phase and part, counted by hand."""

from dataclasses import replace

import pytest

from rlhf.planning.case import NATIVE, Batch, Case, TrainingCase
from rlhf.planning.machines import GPUS
from rlhf.planning.memory import memory, microbatch_tokens, passes
from rlhf.planning.plan import ppo_plan, training_plan
from rlhf.planning.training_memory import training_memory
from tests.planning.shapes import SMALL

BATCH = Batch(
    name="gae", critic=True, num_prompts=64, num_generations=1, prompt_length=32,
    max_response=32, mean_response=32, microbatch_tokens=256,
)  # fmt: skip
P, V = SMALL.parameters, SMALL.value_parameters
E = SMALL.embedding


def case(**others):
    fields = {"batch": BATCH, "num_gpus": 1, "machine": GPUS["L4-24"], "bf16": False}
    return Case(model=SMALL, engine=NATIVE, **(fields | others))


def test_float32_ppo_holds_28_bytes_per_parameter_and_36_at_its_peak():
    """Policy and critic 12 each, reference and reward model 4 each; then one's gradients."""
    needed = memory(case(), sharded=False)
    assert needed.held == 12 * (P + V) + 4 * (P + V)
    assert needed.phases["update"]["gradients"] >= 4 * P


def test_bf16_holds_linear_layers_of_frozen_models_in_two_bytes():
    """The tied output layer stays in float32, as the embedding does."""
    needed = memory(case(bf16=True), sharded=False)
    frozen = 4 * (P + V) - 2 * 2 * SMALL.matrices
    assert needed.held == 12 * (P + V) + frozen
    untied = replace(SMALL, tied=False)
    reference = memory(replace(case(bf16=True), model=untied), sharded=False)
    expected = 4 * untied.parameters - 2 * (SMALL.matrices + E)
    assert reference.held_parts["reference"] == expected


def test_update_keeps_bf16_copies_of_all_products():
    parts = memory(case(bf16=True), sharded=False).phases["update"]
    assert parts["bf16 copies"] == 2 * (SMALL.matrices + E)


def test_logits_are_counted_twice_at_response_positions():
    """4 rows of 64 tokens in a microbatch, of which 128 predict a response token."""
    one = case(batch=replace(BATCH, microbatch_tokens=256))
    assert (microbatch_tokens(one), passes(one)) == (256, 4)
    long = replace(SMALL, vocab_size=50_000)
    parts = memory(replace(one, model=long), sharded=False).phases["update"]
    assert parts["logits"] == 2 * 4 * 50_000 * 128


def test_many_logits_exist_in_parts():
    """16 rows of 64 tokens predict 512; 2**26 / 200,000 = 335 of them exist at once, in bf16."""
    many = case(batch=replace(BATCH, microbatch_tokens=1024), bf16=True)
    long = replace(SMALL, vocab_size=200_000)
    parts = memory(replace(many, model=long), sharded=False).phases["update"]
    assert parts["logits"] == 2 * 335 * 200_000


def test_microbatches_hold_whole_rows_and_are_equal():
    """16 rows of a step: at most 5 of 64 tokens fit into 350; 4 microbatches of 4 rows."""
    odd = case(batch=replace(BATCH, microbatch_tokens=350))
    assert (passes(odd), microbatch_tokens(odd)) == (4, 256)


def test_cache_has_the_longest_rows_of_a_device():
    parts = memory(case(num_gpus=2), sharded=False).phases["rollout"]
    assert parts["KV cache"] == 32 * 64 * 2 * 3 * 64 * 4


def test_ddp_adds_buckets_and_fsdp2_divides_state_and_reference():
    ddp = memory(case(num_gpus=4), sharded=False)
    assert ddp.held_parts["gradient buckets"] == 4 * (P + V)
    sharded = memory(case(num_gpus=4), sharded=True)
    assert sharded.held == 12 * (P + V) / 4 + 4 * P / 4 + 4 * V
    assert sharded.phases["rollout"]["gathered weights"] == 4 * P


def test_modes_share_trunk_or_backbone():
    shared = memory(case(mode="shared_trunk"), sharded=False)
    assert shared.held == 12 * (P + 128 + 1) + 4 * P + 4 * V
    lora = memory(case(mode="lora", adapter=1000), sharded=False)
    assert lora.held == 12 * 2000 + 4 * P + 4 * V
    head = memory(case(mode="lora", adapter=1000, critic_adapter=10), sharded=False)
    assert head.held == 12 * 1010 + 4 * P + 4 * V
    four_bit = memory(case(mode="lora", adapter=1000, four_bit=True), sharded=False)
    assert lora.held - four_bit.held == (4 - (4 + 1 / 8 + 1 / 512) / 8) * SMALL.matrices
    grpo = memory(case(batch=replace(BATCH, critic=False)), sharded=False)
    assert grpo.held == 12 * P + 4 * P + 4 * V
    function = memory(case(reward_models=()), sharded=False)
    assert function.held == 12 * (P + V) + 4 * P


def test_gradients_replace_activations_on_a_gpu_but_not_in_the_heap_of_a_cpu():
    """One microbatch: on a GPU only the output layer's gradient exists next to all activations."""
    one = replace(BATCH, num_minibatches=16, microbatch_tokens=256)
    gradients = []
    for on_gpu in (True, False):
        machine = replace(GPUS["L4-24"], on_gpu=on_gpu)
        planned = memory(case(batch=one, machine=machine, reward_models=()), sharded=False)
        gradients.append(planned.phases["update"]["gradients"])
    assert gradients[0] < 4 * P <= gradients[1]


def test_checkpointing_lowers_the_activations():
    plain, less = (
        memory(case(checkpointing=on), sharded=False).phases["update"]["activations"]
        for on in (False, True)
    )
    assert less < plain


def training(**others):
    fields = {"task": "sft", "rows": 8, "mean_length": 64, "max_length": 128, "num_gpus": 1}
    return TrainingCase(model=SMALL, **({"machine": GPUS["L4-24"]} | fields | others))


def test_lora_base_is_in_the_type_of_the_computation():
    """2 bytes per parameter in bf16, 4 in float32; 4 bits, 1/8 and 1/512 of a bit for scales."""
    sizes = {
        name: training_memory(training(adapter=1000, **keys), sharded=False)
        for name, keys in {"bf16": {}, "fp32": {"bf16": False}, "4": {"four_bit": True}}.items()
    }
    bases = {name: needed.held_parts["frozen base"] for name, needed in sizes.items()}
    assert bases == {
        "bf16": 2 * P,
        "fp32": 4 * P,
        "4": (4 + 1 / 8 + 1 / 512) / 8 * SMALL.matrices + 2 * (P - SMALL.matrices),
    }


def test_reward_model_of_adapters_is_merged_in_float32():
    """The base in 4 bits is replaced by 4 bytes per parameter, which a policy's never is."""
    keys = {"adapter": 1000, "four_bit": True}
    needed = training_memory(training(task="reward_model", responses=2, **keys), sharded=False)
    base = needed.held_parts["frozen base"]
    assert needed.phases["merged"]["merged weights"] == 4 * V - base
    assert "merged" not in training_memory(training(**keys), sharded=False).phases


def test_sharded_models_are_gathered_for_samples_and_evaluations():
    for task, phase, size in (("sft", "samples", P), ("reward_model", "evaluation", V)):
        case = training(task=task, samples=2, responses=2, num_gpus=2)
        parts = training_memory(case, sharded=True).phases[phase]
        assert parts["gathered weights"] == 4 * size
        assert "gathered weights" not in training_memory(case, sharded=False).phases[phase]


def test_reward_model_reads_all_responses_of_its_prompts():
    pairs, eights = (
        training_memory(training(task="reward_model", responses=k), sharded=False) for k in (2, 8)
    )
    ratio = eights.phases["update"]["activations"] / pairs.phases["update"]["activations"]
    assert ratio == pytest.approx(4)
    assert "logits" not in pairs.phases["update"] or not pairs.phases["update"]["logits"]


def test_largest_microbatch_fits_and_a_larger_one_does_not():
    small = replace(GPUS["L4-24"], memory=700_000_000)
    plan = ppo_plan(case(machine=small), sharded=False, steps=3)
    assert plan.largest_microbatch is not None
    for tokens, fits in ((plan.largest_microbatch, True), (plan.largest_microbatch + 64, False)):
        batch = replace(BATCH, microbatch_tokens=tokens)
        peak = memory(case(machine=small, batch=batch), sharded=False).peak
        assert (peak <= 0.9 * 700_000_000) == fits or tokens >= 16 * 64


def test_largest_batch_of_sft_fits_and_one_row_more_does_not():
    small = replace(GPUS["L4-24"], memory=800_000_000)
    plan = training_plan(training(machine=small), sharded=False, steps=None)
    rows = plan.largest_microbatch
    assert rows is not None
    peaks = [
        training_memory(training(machine=small, rows=n), sharded=False).peak
        for n in (rows, rows + 1)
    ]
    assert peaks[0] <= 0.9 * 800_000_000 < peaks[1]


def test_changes_are_listed_only_where_the_run_does_not_fit():
    roomy = ppo_plan(case(), sharded=False, steps=1)
    assert roomy.fits
    assert not roomy.changes
    tight = replace(GPUS["L4-24"], memory=520_000_000)
    wide = replace(BATCH, microbatch_tokens=1024)
    plan = ppo_plan(case(machine=tight, batch=wide), sharded=False, steps=1)
    assert not plan.fits
    texts = [change.text for change in plan.changes]
    assert "mode: shared_trunk" in texts
    assert "bf16: true" in texts
    assert all(change.peak < plan.memory.peak for change in plan.changes)
