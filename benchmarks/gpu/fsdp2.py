"""Steps with weights sharded by FSDP2 on one rank, compared with whole ones.

Called with JOB.json and RESULT.json. A run shards only with several processes. With one, the shards
are whole, but every call is made: gathers and reductions through NCCL (gloo on a CPU), the sharded
optimizer, and the copy to save.
"""

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed, nn

from benchmarks.gpu.exchange import device, read_job, step_result, write_result
from benchmarks.gpu.sections import Sizes
from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.models.load import load_policy
from rlhf.models.response_logprobs import ResponseLogprobs, response_batch
from rlhf.models.shard import full
from rlhf.training.common.sharded import sharded

LEARNING_RATE = 1e-3  # the loss falls within a few steps


def main() -> None:
    """Train whole weights and sharded ones on the same rows."""
    job = read_job()
    sizes, model = Sizes(**job["sizes"]), job["model"]
    _form_group_of_one()
    plain, _ = take_steps(module_of(model), sizes)
    outer = sharded(module_of(model), device(), "policy")
    losses, seconds = take_steps(outer, sizes)
    tokens = sizes.microbatch_rows * (sizes.prompt_tokens + sizes.response_tokens)
    saved = sum(weight.numel() for weight in outer.whole_module().parameters())
    write_result(
        step_result(seconds[1:], tokens)
        | {"losses": losses, "losses_whole": plain, "saved_parameters": saved}
    )
    distributed.destroy_process_group()


def module_of(model: str) -> ResponseLogprobs:
    """The policy as DPO trains it."""
    policy: Any = load_policy(model, dtype=torch.float32)
    return ResponseLogprobs(policy.to(device()).train(), bf16=True)


def take_steps(module: nn.Module, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Losses in nats per response and seconds of steps on the same rows."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE)
    batch = response_batch(rows_of(sizes), device())
    losses, seconds = [], []
    module.train()
    for _ in range(1 + sizes.steps):
        start = time.perf_counter()
        loss = -module(*batch.tensors).mean()
        loss.backward()
        norm = full(nn.utils.clip_grad_norm_(module.parameters(), 1.0))
        assert torch.isfinite(norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return losses, seconds


def rows_of(sizes: Sizes) -> Sequence[TokenResponse]:
    """Responses of random tokens."""
    draw = torch.Generator().manual_seed(0)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 100, (number,), generator=draw).tolist())

    return [
        TokenResponse(
            prompt_ids=tokens(sizes.prompt_tokens), response_ids=tokens(sizes.response_tokens)
        )
        for _ in range(sizes.microbatch_rows)
    ]


def _form_group_of_one() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


if __name__ == "__main__":
    main()
