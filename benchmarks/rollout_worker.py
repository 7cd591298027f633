"""A worker that samples rollouts: `python -m benchmarks.rollout_worker ENGINE JOB.json`."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.interleaving import WorkerConnection
from rlhf.data.tokenization.chat import prompt_ids, prompt_text
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.load import load_engine
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs


def main() -> None:
    """Load policy and engine, then sample one batch per turn."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    connection = WorkerConnection()
    start_processes(job["threads"])
    quiet_logs()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        rollouts = EngineRollouts(job, job["engines"][name], Path(folder))
        connection.report({"loaded": True})
        for turn, (rows, longest) in enumerate(job["turns"]):
            connection.wait()
            connection.report(rollouts.sample(rows, longest, seed=turn))
        connection.wait()


class EngineRollouts:
    """A policy as PPO holds it, its engine, and the prompts of a job.

    Args:
        job: the job of rollout_engines.py.
        keys: of the engine, such as `rollout_engine`.
        folder: for the log of a server.
    """

    def __init__(self, job: dict[str, Any], keys: dict[str, Any], folder: Path) -> None:
        import torch

        self.limits, self.bf16 = job["limits"], job["bf16"]
        self.policy = load_policy(job["model"], dtype=torch.float32)
        use_fast_cpu_attention(self.policy)
        use_fast_cpu_layers(self.policy)
        self.chat, self.prompts = load_tokenizer(job["model"]), job["prompts"]
        self.encoded = [prompt_ids(self.chat, prompt) for prompt in self.prompts]
        text = prompt_text(self.chat, self.prompts[0])
        self.engine = load_engine(
            RolloutConfig(**keys),
            model=job["model"],
            max_length=max(map(len, self.encoded)) + max(self.limits),
            bf16=self.bf16,
            seed=0,
            folder=folder,
            cuda_graphs=False,
            copies=False,
            texts=[text],
            ids=[self.chat.tokenizer(text, add_special_tokens=False)["input_ids"]],
        )

    def sample(self, rows: int, longest: int, *, seed: int) -> dict[str, float]:
        """Seconds and tokens of a response to each of the first `rows` prompts.

        A response has the length drawn for it, at most `longest`. The engine is given the weights
        first, as in every iteration: it may keep nothing of a prompt that it has seen before.
        """
        import torch

        limits = [min(limit, longest) for limit in self.limits[:rows]]
        batch = prompt_batch(
            self.encoded[:rows],
            self.prompts[:rows],
            prompt_indices=list(range(rows)),
            num_responses=1,
            pad_token_id=self.chat.pad_token_id,
            device=torch.device("cpu"),
        )
        sampling = Sampling(
            max_new_tokens=max(limits),
            temperature=1.0,
            eos_token_ids=(),
            pad_token_id=self.chat.pad_token_id,
            seed=seed,
            iteration=0,
            row_limits=limits,
        )
        start = time.perf_counter()
        self.engine.update_weights(self.policy)
        given = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            generated = self.engine.generate(batch, sampling)
        return {
            "seconds": time.perf_counter() - given,
            "units": int(generated.response_mask.sum()),
            "weights": given - start,
        }


if __name__ == "__main__":
    main()
