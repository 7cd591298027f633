"""The two decode loops on both of their uses: tokens per CPU second, interleaved in one process.

    python -m benchmarks.decode_loops MODEL PROMPTS.jsonl [--num_prompts 64 --runs 9 …]

`Decoder` samples rollouts (one fixed batch), `BatchEngine` serves requests (rows join and leave).
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from rlhf.chat.engine import BatchEngine, GenerationRequest
from rlhf.chat.loading import LoadedModel, load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.models.generation.generate import generate, prompt_batch

Run = Callable[[int], int]
"""Seed -> number of sampled tokens."""


def main() -> None:
    """Print the median rate of each loop on each use, and the ratios of paired runs."""
    options = _parser().parse_args()
    model = load_chat_model(options.model)
    lines = Path(options.prompts).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines][: options.num_prompts]
    loops = Loops(model, prompts, options.num_responses, options.max_new_tokens, options.slots)
    runs: dict[str, Run] = {
        "rollouts, Decoder": lambda seed: loops.decoder(seed, len(prompts)),
        "rollouts, BatchEngine": lambda seed: loops.engine(seed, loops.num_rows),
        "serving, Decoder": lambda seed: loops.decoder(seed, loops.slots // loops.num_responses),
        "serving, BatchEngine": lambda seed: loops.engine(seed, loops.slots),
    }
    rates = measure(runs, options.runs)
    for name, values in rates.items():
        print(f"{name:22}{median(values):8.0f} [{min(values):.0f}, {max(values):.0f}]")
    for use in ("rollouts", "serving"):
        pairs = zip(rates[f"{use}, BatchEngine"], rates[f"{use}, Decoder"], strict=True)
        ratios = [engine / decoder for engine, decoder in pairs]
        print(f"{use}: ratio {median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")


def measure(runs: dict[str, Run], count: int) -> dict[str, list[float]]:
    """Tokens per CPU second of each run, in turns; a first round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for seed in range(count + 1):
        for name in list(runs) if seed % 2 else list(runs)[::-1]:
            start = time.process_time()
            tokens = runs[name](seed)
            if seed > 0:
                rates[name].append(tokens / (time.process_time() - start))
    return rates


class Loops:
    """One model and its prompts, sampled by either loop."""

    def __init__(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        num_responses: int,
        max_new_tokens: int,
        slots: int,
    ) -> None:
        self.model, self.prompts, self.slots = model, prompts, slots
        self.num_responses, self.max_new_tokens = num_responses, max_new_tokens
        self.encoded = [prompt_ids(model.chat, prompt) for prompt in prompts]

    @property
    def num_rows(self) -> int:
        """Responses in total."""
        return len(self.prompts) * self.num_responses

    def decoder(self, seed: int, num_prompts: int) -> int:
        """Static batches of this many prompts: the loop for rollouts cannot admit a row."""
        chat, total = self.model.chat, 0
        for start in range(0, len(self.prompts), max(1, num_prompts)):
            rows = range(start, min(start + max(1, num_prompts), len(self.prompts)))
            batch = prompt_batch(
                [self.encoded[row] for row in rows],
                [self.prompts[row] for row in rows],
                prompt_indices=list(rows),
                num_responses=self.num_responses,
                pad_token_id=chat.pad_token_id,
                device=self.model.model.device,
            )
            generated = generate(
                self.model.model,
                batch,
                max_new_tokens=self.max_new_tokens,
                temperature=1.0,
                eos_token_ids=chat.eos_token_ids,
                pad_token_id=chat.pad_token_id,
                seed=seed,
                iteration=0,
            )
            total += int(generated.response_mask.sum())
        return total

    def engine(self, seed: int, slots: int) -> int:
        """At most `slots` responses at a time; the next one joins when a slot is free."""
        engine, total = BatchEngine(self.model, slots=slots), 0
        waiting = [
            GenerationRequest(ids=ids, sampling=self._sampling(seed, row), choice=choice)
            for row, ids in enumerate(self.encoded)
            for choice in range(self.num_responses)
        ][::-1]
        while True:
            while waiting and engine.free:
                engine.add(waiting.pop())
            tokens = engine.step()
            if not tokens and not waiting:
                return total
            total += len(tokens)

    def _sampling(self, seed: int, row: int) -> Sampling:
        return Sampling(
            temperature=1.0, max_new_tokens=self.max_new_tokens, seed=seed * 100_000 + row
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="Folder or hub id of a policy.")
    parser.add_argument("prompts", help="JSONL file of rows with a prompt.")
    for name, default in (
        ("num_prompts", 64),
        ("num_responses", 4),
        ("max_new_tokens", 64),
        ("runs", 9),
        ("slots", 16),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


if __name__ == "__main__":
    main()
