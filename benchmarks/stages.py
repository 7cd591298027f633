"""python -m benchmarks.stages MODEL: SFT, reward models and DPO, compared with TRL 1.16.

    python -m benchmarks.stages SmolLM2-135M-Instruct

A turn is an optimizer step: of SFT on --prompts packed rows, of a reward model or of DPO on
--prompts prompts, each with two responses (both engines) or with four in one ranking (rlhf alone:
TRL's trainers read pairs). The engines take turns, on a machine that should be idle otherwise:
above a load of 0.5 nothing is measured without --busy.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.engines import Engine, started
from benchmarks.groups import TOPICS, prompt_of
from benchmarks.options import check_idle, model_parser
from benchmarks.results import machine_lines
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer

MIB = 2**20
PROMPT_TOKENS, RESPONSE_SENTENCES = 96, (1, 6)
ROW_TOKENS = 512  # of a packed row of SFT
READING = """\
Median of the counted steps and their range. All weights are trained, in bf16 autocast, with TRL's
defaults; `no checkpointing` has `gradient_checkpointing=False`, which rlhf has by default. SFT is
TRL's trainer in both cases, with packed rows of 512 tokens and without checkpointing: units are
tokens. Only `rlhf` makes the C library keep freed memory and has the fast CPU layers. A reward
model's prompts have about 100 tokens and its responses 15 to 90: units are responses. DPO has the
same prompts and responses. rlhf reads the log-probs of the reference before the first step, and a
step is charged its share of that time; TRL computes them in each step. Memory is the peak of the
process, with imports."""
STAGES = {  # stage -> name of an engine -> units of a step for one prompt or row
    "sft": {"rlhf": ROW_TOKENS, "trl": ROW_TOKENS},
    "reward": {"rlhf": 2, "rlhf K=4": 4, "trl": 2, "trl, no checkpointing": 2},
    "dpo": {"rlhf": 2, "rlhf K=4": 4, "trl": 2, "trl, no checkpointing": 2},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    command = " ".join(["python -m benchmarks.stages", *(argv or sys.argv[1:])])
    lines = ["# SFT, reward models and DPO", "", f"`{command}`", ""]
    lines += [
        *(f"- {line}" for line in machine_lines(options.threads, peer=f"trl {version('trl')}")),
        "",
        READING,
    ]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for stage in options.stages:
            job = _write_job(options, stage, Path(scratch))
            pythons = dict.fromkeys(STAGES[stage], sys.executable)
            module = "benchmarks.stage_worker"
            with started(module, pythons, job, threads=options.threads) as engines:
                for turn in range(1 + options.turns):
                    for engine in engines if turn % 2 == 0 else reversed(engines):
                        engine.take_turn(0, counted=turn > 0)
            lines += ["", f"## {stage}", "", *table_lines(engines)]
    Path(options.output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


def table_lines(engines: Sequence[Engine]) -> list[str]:
    """The Markdown table of a stage."""
    peer = next(engine for engine in engines if engine.name == "trl")
    speed = statistics.median(peer.rates[0])
    table = [["engine", "units/s", "range", "× trl", "peak MiB", "memory, × trl"]]
    table += [["---", *["---:"] * 5]]
    for engine in engines:
        rates = engine.rates[0]
        middle = statistics.median(rates)
        table.append(
            [
                engine.name,
                f"{middle:.2f}",
                f"{min(rates):.2f} to {max(rates):.2f}",
                f"{middle / speed:.2f}",
                f"{engine.peak / MIB:.0f}",
                f"{engine.peak / peer.peak:.2f}",
            ]
        )
    return ["| " + " | ".join(row) + " |" for row in table]


def _write_job(options: argparse.Namespace, stage: str, folder: Path) -> Path:
    chat = load_tokenizer(options.model)
    draw = random.Random(0)
    steps = 1 + options.turns
    # Conversations have a quarter of a packed row's tokens or more.
    number = steps * options.prompts * (5 if stage == "sft" else 1)
    job = {
        "model": str(Path(options.model).resolve()),
        "rankings": [_ranking(chat, index, draw) for index in range(number)],
        "prompts": options.prompts,
        "row_tokens": ROW_TOKENS,
        "steps": steps,
        "threads": options.threads,
        "stage": stage,
        "units": STAGES[stage],
    }
    path = folder / f"{stage}.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def _ranking(chat: ChatTokenizer, number: int, draw: random.Random) -> dict[str, object]:
    """A prompt with four responses of several lengths; no two prompts are alike."""
    prompt = f"Question {number}. " + prompt_of(chat, number % len(TOPICS), PROMPT_TOKENS)
    responses = [
        " ".join(
            f"Think of {draw.choice(TOPICS)}: everybody knows how much of it a day needs."
            for _ in range(draw.randint(*RESPONSE_SENTENCES))
        )
        for _ in range(4)
    ]
    return {"prompt": prompt, "responses": responses}


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("stages", __doc__, "STAGES.md")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--prompts", type=int, default=8, help="Prompts or rows of a step.")
    parser.add_argument("--turns", type=int, default=5, help="Counted steps.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
