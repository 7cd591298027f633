"""python -m benchmarks.groups MODEL: GRPO and RLOO on a real model, compared with TRL 1.16.

    python -m benchmarks.groups SmolLM2-135M-Instruct --workloads R

MODEL is a folder with a chat model. The engines alternate after each iteration, on a machine that
should be idle otherwise: above a load of 0.5 nothing is measured without --busy.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.group_results import Rows, write_page
from benchmarks.measure import measure
from benchmarks.options import check_idle, model_parser
from benchmarks.results import machine_lines
from benchmarks.workloads import Engine, Job, Variant
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.models.memory import shape_of

LEARNING_RATE = 1e-6  # TRL's default; the weights hardly change, so every iteration is alike
REWARD = f"{Path(__file__).with_name('length_reward.py')}:reward"
TOPICS = (
    "the moon", "bread", "rivers", "honey bees", "chess", "sleep", "volcanoes", "money", "rain",
    "music", "trees", "glass", "clocks", "salt", "wolves", "maps", "tea", "bridges", "soap",
    "stars", "paper", "wheels", "snow", "gardens", "ships", "mirrors", "winter", "numbers",
    "castles", "bicycles", "kites", "lamps",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GroupWorkload:
    """One optimizer step on `num_prompts` prompts with `num_generations` responses each."""

    name: str
    num_prompts: int
    num_generations: int
    prompt_tokens: int  # of the rendered prompt, at least
    max_response_length: int


R = GroupWorkload(
    name="R", num_prompts=4, num_generations=8, prompt_tokens=0, max_response_length=64
)
R_LONG = GroupWorkload(
    name="R-long", num_prompts=8, num_generations=4, prompt_tokens=512, max_response_length=256
)
WORKLOADS = {workload.name: workload for workload in (R, R_LONG)}


COMPARISONS: dict[str, dict[str, list[tuple[Engine, str, dict[str, Any]]]]] = {
    "R": {
        "bf16": [
            ("trl_groups", "trl grpo bf16", {"bf16": True}),
            ("rlhf", "rlhf grpo bf16", {"bf16": True}),
            ("rlhf", "rlhf grpo bf16, spinning", {"bf16": True, "spins": True}),
        ],
        "fp32": [
            ("trl_groups", "trl grpo fp32", {}),
            ("rlhf", "rlhf grpo fp32", {}),
            ("rlhf", "rlhf grpo fp32, spinning", {"spins": True}),
        ],
        "lora": [
            ("trl_groups", "trl grpo bf16 lora", {"bf16": True, "mode": "lora"}),
            ("rlhf", "rlhf grpo bf16 lora", {"bf16": True, "mode": "lora"}),
        ],
        "rloo": [
            ("trl_groups", "trl rloo bf16", {"bf16": True, "method": "rloo"}),
            ("rlhf", "rlhf rloo bf16", {"bf16": True, "method": "rloo"}),
        ],
        "tuned": [
            ("trl_groups", "trl grpo bf16, no checkpointing", {"bf16": True, "tuned": True}),
            (
                "trl_groups",
                "trl grpo bf16, 8 rows per device",
                {"bf16": True, "rows_per_device": 8},
            ),
            ("rlhf", "rlhf grpo bf16", {"bf16": True}),
        ],
        "critic": [
            ("rlhf", "rlhf grpo bf16", {"bf16": True}),
            ("rlhf", "rlhf ppo bf16", {"bf16": True, "method": "gae"}),
        ],
    },
    "R-long": {
        "bf16": [
            ("trl_groups", "trl grpo bf16", {"bf16": True}),
            ("rlhf", "rlhf grpo bf16", {"bf16": True}),
        ],
        "lora": [
            ("trl_groups", "trl grpo bf16 lora", {"bf16": True, "mode": "lora"}),
            ("rlhf", "rlhf grpo bf16 lora", {"bf16": True, "mode": "lora"}),
        ],
    },
}
"""Variants that are loaded together and alternate, by workload: the first one is the baseline."""


def variants(workload: str, comparison: str, num_threads: int) -> list[Variant]:
    """The variants of one comparison."""
    return [
        Variant(
            engine=engine, label=label, num_threads=num_threads, **({"method": "grpo"} | options)
        )
        for engine, label, options in COMPARISONS[workload][comparison]
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page after each comparison."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    machine = machine_lines(options.threads, peer=f"trl {version('trl')}")
    command = " ".join(["python -m benchmarks.groups", *(argv or sys.argv[1:])])
    results: list[Rows] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for workload in map(WORKLOADS.__getitem__, options.workloads):
            prompts, length = write_prompts(workload, options.model, Path(scratch) / workload.name)
            for comparison in COMPARISONS[workload.name]:
                if options.only and comparison not in options.only:
                    continue
                chosen = variants(workload.name, comparison, options.threads)
                print(f"{workload.name}: {'; '.join(v.label for v in chosen)}", flush=True)
                folder = Path(scratch) / workload.name / comparison
                jobs = [job_of(workload, v, options, prompts, folder) for v in chosen]
                measured, rates = measure(jobs, folder, peer_python=Path(sys.executable))
                results.append(
                    Rows(
                        workload=workload,
                        prompt_tokens=length,
                        measured=measured,
                        rates=rates,
                        shape=shape_of(options.model),
                    )
                )
                # After each comparison: an interrupted command keeps what it has measured.
                write_page(Path(options.output), results, machine=machine, command=command)
    print(f"written: {options.output}")
    return 0


def write_prompts(workload: GroupWorkload, model: str, folder: Path) -> tuple[Path, float]:
    """Write a file of prompts; returns it and the mean number of their tokens."""
    chat = load_tokenizer(model)
    folder.mkdir(parents=True)
    prompts = [prompt_of(chat, number, workload.prompt_tokens) for number in range(len(TOPICS))]
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts), encoding="utf-8")
    return path, sum(len(prompt_ids(chat, prompt)) for prompt in prompts) / len(prompts)


def prompt_of(chat: ChatTokenizer, number: int, tokens: int) -> str:
    """A question about one topic, after as many sentences about others as `tokens` asks for."""
    question = f"Explain {TOPICS[number]} to a child, and say why it matters."
    sentences: list[str] = []
    while tokens and len(prompt_ids(chat, " ".join([*sentences, question]))) < tokens:
        topic = TOPICS[(number + 7 * len(sentences) + 1) % len(TOPICS)]
        sentences.append(f"Last week we talked about {topic}, and everybody had a question.")
    return " ".join([*sentences, question])


def job_of(
    workload: GroupWorkload,
    variant: Variant,
    options: argparse.Namespace,
    prompts: Path,
    folder: Path,
) -> Job:
    """What the worker of a variant computes: `options.iterations` and one more, on `options.model`.

    Args:
        workload: prompts and lengths.
        variant: the engine and its settings.
        options: of the command line.
        prompts: file of `write_prompts`.
        folder: for the run folder.
    """
    return Job(
        policy=options.model,
        reward_model=REWARD,
        prompts=str(prompts),
        output_dir=str(folder / "out" / variant.label.replace(" ", "-")),
        iterations=1 + options.iterations,
        seed=0,
        batch_size=workload.num_prompts * workload.num_generations,
        num_epochs=1,
        num_minibatches=1,
        max_prompt_length=workload.prompt_tokens + 128,
        max_response_length=workload.max_response_length,
        learning_rate=LEARNING_RATE,
        kl_coef=0.05,
        missing_eos_penalty=None,
        variant=variant,
        num_generations=workload.num_generations,
    )


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("groups", __doc__, "GROUPS.md")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=["R"])
    parser.add_argument(
        "--iterations", type=int, default=3, help="Counted iterations, after one for warm-up."
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(COMPARISONS["R"]), help="Comparisons to measure."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
