"""The minimal operations and memory traffic of an iteration, counted."""

from dataclasses import dataclass

from benchmarks.workloads import Workload
from rlhf.models.shape import attended_pairs, forward_flops, key_value_bytes, trunk_weights
from rlhf.planning.rates import Rates
from rlhf.planning.seconds import OPTIMIZER_TOUCHES

FLOAT32 = 4


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations and bytes of one iteration in mode `separate`."""

    update_flops: float
    flops: float  # all phases
    bytes: float  # all phases


def count_work(workload: Workload, *, prompt_tokens: float, response_tokens: float) -> Work:
    """Multiplications and additions (a matmul's 2 n m k), and bytes to and from memory.

    No padding, logits only at response tokens, causal attention, a backward pass of twice the
    forward pass, no recomputation. Bytes: each decoding step reads the policy and the keys and
    values so far, each optimizer step reads and writes the state of both models. Activations are
    left out because they could stay in a cache.

    prompt_tokens, response_tokens: of the whole batch.
    """
    trunk, output = trunk_weights(workload), workload.hidden_size * workload.vocab_size
    tokens, rows = prompt_tokens + response_tokens, workload.batch_size
    trunk_flops = forward_flops(workload, tokens=tokens, rows=rows)
    head = 2 * output * response_tokens
    rollout, score = (
        trunk_flops + head,
        (trunk_flops + head) + 2 * trunk_flops,
    )  # reference; critic and reward
    update = workload.num_epochs * 3 * ((trunk_flops + head) + trunk_flops)
    steps = workload.num_epochs * workload.num_minibatches
    decode_steps = response_tokens / rows
    parameters = trunk + 2 * output
    key_values = key_value_bytes(workload, FLOAT32) * attended_pairs(tokens, rows)
    moved = decode_steps * (trunk + output) * FLOAT32 + key_values
    moved += steps * OPTIMIZER_TOUCHES * FLOAT32 * (2 * parameters - output)
    return Work(update_flops=update, flops=rollout + score + update, bytes=moved)


def roofline_seconds(work: Work, rates: Rates, *, bf16: bool) -> tuple[float, float]:
    """Seconds for the counted operations, and seconds for the counted bytes."""
    matmul = rates.matmul_bf16 if bf16 else rates.matmul_fp32
    return work.flops / matmul, work.bytes / rates.copy
