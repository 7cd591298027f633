"""Predicted seconds and memory of PPO and GRPO on GPUs: the tables of docs/explanation/scaling.md.

python -m benchmarks.scaling            # print the tables
python -m benchmarks.scaling --write    # and write them into the page

Nothing is measured here. A test checks that the page has the tables that this program prints.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.scaling_cases import (
    A100,
    BATCHES,
    GRPO,
    H100,
    H200,
    L4,
    MODELS,
    NUM_GPUS,
    PLANNED,
    PPO,
)
from benchmarks.shapes import LLAMA2_7B, LLAMA_8B, QWEN_05B, QWEN_15B
from rlhf.models.shape import GIB, ModelShape, forward_flops, key_value_bytes
from rlhf.planning.activations import BF16, FP32
from rlhf.planning.case import GRAPHED, NATIVE, Batch, Case
from rlhf.planning.memory import fits, memory
from rlhf.planning.seconds import alive_after, decode_step, predict

PAGE = Path(__file__).parent.parent / "docs/explanation/scaling.md"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
TOO_LARGE = "does not fit"
WITH_ENGINE = "FSDP2 with an engine"


def main() -> None:
    """Print the tables; with --write, put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write them into {PAGE.name}")
    for name, table in TABLES.items():
        print(f"{name}\n\n{table()}")
    if parser.parse_args().write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """The page with current tables between its markers."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", page)


def counts() -> str:
    """What one token, one weight update and one optimizer step need."""
    head = ["model", "parameters", "GFLOP per token, forward", "weights in bf16, GB",
            "keys and values per token, KB", "gradients, GB"]  # fmt: skip
    rows = [
        [
            model.name,
            f"{model.parameters:,}",
            f"{forward_flops(model, tokens=1024, rows=1, logits=1024) / 1024 / 1e9:.2f}",
            f"{BF16 * model.parameters / 1e9:.2f}",
            f"{key_value_bytes(model, BF16) / 1e3:.1f}",
            f"{FP32 * model.parameters / 1e9:.2f}",
        ]
        for model in MODELS
    ]
    return _table(head, rows)


def lengths() -> str:
    """How the response lengths are distributed."""
    half = next(token for token in range(PPO.max_response) if alive_after(PPO, token) <= 0.5)
    full = alive_after(PPO, PPO.max_response - 1)
    return (
        f"Half of the responses have ended after {half} tokens, and {full:.0%} reach the maximum "
        f"of {PPO.max_response:,}.\n"
    )


def memory_table() -> str:
    """The planned peaks, GiB on a GPU."""
    head = ["", "model", "GPUs", "DDP", "FSDP2", WITH_ENGINE,
            "fits 80 GB", "fits 141 GB"]  # fmt: skip
    rows = []
    for batch in BATCHES:
        for model in MODELS:
            for count in NUM_GPUS:
                case = Case(model=model, batch=batch, num_gpus=count, engine=NATIVE, machine=H200)
                rows.append([batch.name, model.name, str(count), *_memory_cells(case)])
    return _table(head, rows, text_columns=2)


def _memory_cells(case: Case) -> list[str]:
    ways = {"DDP": memory(case, sharded=False)}
    cells = [f"{ways['DDP'].peak / GIB:.0f}"]
    if case.num_gpus > 1:
        ways["FSDP2"] = memory(case, sharded=True)
        ways[WITH_ENGINE] = memory(replace(case, engine=PLANNED), sharded=True)
    cells += [
        f"{ways[way].peak / GIB:.0f}" if way in ways else "" for way in ("FSDP2", WITH_ENGINE)
    ]
    for machine in (H100, H200):
        fitting = [way for way, needed in ways.items() if fits(needed, case, machine)]
        cells.append(fitting[0] if fitting else "no")
    return cells


def times(batch: Batch) -> str:
    """Seconds of an iteration with both engines."""
    head = ["model", "GPUs", "weights", "score", "update", "rollout, native",
            "iteration, native", "largest part", "rollout, engine", "TP", "iteration, engine",
            "largest part"]  # fmt: skip
    return _table(head, [_time_cells(batch, m, count) for m in MODELS for count in NUM_GPUS])


def _time_cells(batch: Batch, model: ModelShape, count: int) -> list[str]:
    cells = [model.name, str(count)]
    case = Case(model=model, batch=batch, num_gpus=count, engine=NATIVE, machine=H200)
    native, engine = predict(case), predict(replace(case, engine=PLANNED))
    if native is None or engine is None:
        return [*cells, TOO_LARGE, *[""] * 9]
    return [
        *cells,
        native.sharding,
        *(_seconds(sum(phase.values())) for phase in (native.score, native.update)),
        _seconds(sum(native.rollout.values())),
        f"**{_seconds(native.seconds)}**",
        native.bound,
        _seconds(sum(engine.rollout.values())),
        str(engine.tensor_parallel),
        f"**{_seconds(engine.seconds)}**",
        engine.bound,
    ]


CHANGES: dict[str, Callable[[Case], Case]] = {
    "as in the tables above": lambda case: case,
    "responses four times as long": lambda case: replace(
        case, batch=replace(case.batch, mean_response=2048, max_response=4096)
    ),
    "four times as many prompts": lambda case: replace(
        case, batch=replace(case.batch, num_prompts=4 * case.batch.num_prompts)
    ),
    "`num_ppo_epochs: 4` (the default)": lambda case: replace(
        case, batch=replace(case.batch, num_epochs=4)
    ),
    "`cuda_graphs: true`": lambda case: replace(
        case, engine=GRAPHED if case.engine is NATIVE else case.engine
    ),
    "H100 instead of H200": lambda case: replace(case, machine=H100),
    "a launch takes 20 µs instead of 10": lambda case: replace(
        case, achieved=replace(case.achieved, launch=20e-6)
    ),
    "an engine step takes 5 ms instead of 2": lambda case: replace(
        case, achieved=replace(case.achieved, engine_step=5e-3)
    ),
    "matmuls at 20% of the peak instead of 40%": lambda case: replace(
        case, achieved=replace(case.achieved, matmul=0.2)
    ),
    "links at 25% of the peak instead of 75%": lambda case: replace(
        case, achieved=replace(case.achieved, link=0.25)
    ),
    "weight transfer at 6 GB/s instead of 60": lambda case: replace(
        case, achieved=replace(case.achieved, transfer_rate=6e9)
    ),
}


def changes() -> str:
    """Seconds of an iteration after one change."""
    cases = [
        (PPO, QWEN_05B, 8, NATIVE),
        (PPO, LLAMA_8B, 8, NATIVE),
        (GRPO, QWEN_15B, 8, PLANNED),
        (GRPO, LLAMA_8B, 64, PLANNED),
    ]
    head = ["change", *(f"{b.name}, {m.name}, {n} GPUs, {e.name}" for b, m, n, e in cases)]
    rows = []
    for change, apply in CHANGES.items():
        predictions = [
            predict(apply(Case(model=m, batch=b, num_gpus=n, engine=e, machine=H200)))
            for b, m, n, e in cases
        ]
        rows.append([change, *(_seconds(p.seconds) if p else TOO_LARGE for p in predictions)])
    return _table(head, rows)


def checks() -> str:
    """Milliseconds of a decoding step: published, and by the formulas here."""
    small = Case(model=QWEN_05B, batch=PPO, num_gpus=1, engine=PLANNED, machine=L4)
    eager = Case(model=LLAMA2_7B, batch=PPO, num_gpus=1, engine=NATIVE, machine=A100)
    newer = replace(eager, model=LLAMA_8B, machine=H100)
    context = 256 + 128 / 2  # prompt, and half of the response
    rows = [
        ("[vLLM 0.23, Qwen2.5-0.5B, L4, 1 request](https://ai.wmx.dev/benchmarks)", 5.1,
         sum(decode_step(small, 1, context).values())),
        ("the same, 32 requests", 7.1, sum(decode_step(small, 32, context).values())),
        ("[PyTorch without compilation, Llama-2-7B, A100, 1 request]"
         "(https://pytorch.org/blog/accelerating-generative-ai-2/)", 1e3 / 25.5,
         sum(decode_step(eager, 1, 100).values())),
        ("[PyTorch without compilation, Llama-3.1-8B, H100](https://cloudai.pt/tag/cuda-graphs/)",
         8.4, sum(decode_step(newer, 1, 100).values())),
    ]  # fmt: skip
    head = ["published measurement", "published, ms per token", "formulas here, ms per token"]
    return _table(head, [[name, f"{at:.1f}", f"{1e3 * by:.1f}"] for name, at, by in rows])


TABLES: dict[str, Callable[[], str]] = {
    "counts": counts,
    "lengths": lengths,
    "memory": memory_table,
    "ppo": lambda: times(PPO),
    "grpo": lambda: times(GRPO),
    "changes": changes,
    "checks": checks,
}


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; columns with numbers only are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    numeric = [
        index >= text_columns and all(re.fullmatch(r"[\d.,*]*|" + TOO_LARGE, c) for c in cells)
        for index, cells in enumerate(columns)
    ]
    rule = ["---:" if right else "---" for right in numeric]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


if __name__ == "__main__":
    main()
