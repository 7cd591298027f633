"""The page of the group benchmark: times, memory, and the work that an iteration cannot avoid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Measured
from rlhf.models.shape import ModelShape, key_value_bytes, query_size
from rlhf.planning.rates import Rates

if TYPE_CHECKING:
    from benchmarks.groups import GroupWorkload

MIB = 2**20
COLUMNS = (
    "variant", "seconds", "range", "speed, × first", "tokens/s", "tokens/s, × first", "rollout s",
    "score s", "update s", "score and update, share of matmul rate", "rollout, share of floor",
    "peak MiB", "memory, × first", "tokens",
)  # fmt: skip
READING = """\
Means of the counted iterations and their range, after one that is not counted. The variants of a
table are loaded together and alternate after each iteration; ratios are against its first row.
`trl` is TRL 1.16 as its users run it, with all rows in one forward pass and gradient checkpointing
unless the row says otherwise. In rlhf, threads that wait for each other sleep; `spinning` has
OpenMP's own default, which TRL has too and which is slower by far on a busy machine. Shares refer
to counted work: each prompt once for all of its responses, logits only at response tokens, causal
attention, a backward pass of twice the forward pass; a decoding step reads each weight once for all
rows. The floor of the rollout is the longer of two times: that of its operations at the matmul
rate, and that of its reads at the rate of memory. Both rates are measured before and after a table.
Memory is the peak of launcher and worker, with imports; TRL is started by `accelerate launch`, rlhf
by the launcher of `rlhf ppo`."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The measured variants of one comparison."""

    workload: "GroupWorkload"
    prompt_tokens: float  # mean of a prompt
    measured: list[Measured]
    rates: Rates
    shape: ModelShape


@dataclass(frozen=True, kw_only=True)
class GroupWork:
    """Minimal work of an iteration with a policy, a reference and no critic."""

    train_flops: float  # reference, forward and backward pass
    rollout_flops: float  # prompts once, and each sampled token
    decode_bytes: float  # weights, keys and values read while decoding


def count_group_work(rows: Rows, *, response_tokens: float, bf16: bool) -> GroupWork:
    """Operations and bytes; see READING. response_tokens: of the whole batch."""
    shape, workload = rows.shape, rows.workload
    trunk, head = shape.matrices, shape.embedding
    prompts, prompt = workload.num_prompts, rows.prompt_tokens
    responses = prompts * workload.num_generations
    length = response_tokens / responses
    pairs = prompts * prompt**2 / 2 + responses * (prompt * length + length**2 / 2)
    forward = 2 * trunk * (prompts * prompt + response_tokens) + 2 * head * response_tokens
    forward += 4 * query_size(shape) * shape.num_layers * pairs
    itemsize = 2 if bf16 else 4
    read = responses * (prompt * length + length**2 / 2) * key_value_bytes(shape, itemsize)
    steps = workload.max_response_length
    return GroupWork(
        train_flops=4 * forward,
        rollout_flops=forward,
        decode_bytes=itemsize * steps * shape.products + read,
    )


def row_of(line: Measured, rows: Rows) -> list[str]:
    """The cells of one variant, see COLUMNS."""
    variant, seconds, tokens = line.variant, line.mean("seconds"), line.mean("response_tokens")
    peer = rows.measured[0] if line is not rows.measured[0] else None
    work = count_group_work(rows, response_tokens=tokens, bf16=variant.bf16)
    matmul = rows.rates.matmul_bf16 if variant.bf16 else rows.rates.matmul_fp32
    trained = line.mean("seconds_score") + line.mean("seconds_update")
    comparable = variant.mode == "separate" and variant.method != "gae"
    share = f"{work.train_flops / trained / matmul:.0%}" if comparable else ""
    floor = max(work.rollout_flops / matmul, work.decode_bytes / rows.rates.read)
    rate = peer.mean("response_tokens") / peer.mean("seconds") if peer else 0.0
    return [
        variant.label,
        f"{seconds:.2f}",
        line_range(line),
        f"{peer.mean('seconds') / seconds:.2f}" if peer else "",
        f"{tokens / seconds:.0f}",
        f"{tokens / seconds / rate:.2f}" if peer else "",
        *(f"{line.mean(f'seconds_{phase}'):.2f}" for phase in ("rollout", "score", "update")),
        share,
        f"{floor / line.mean('seconds_rollout'):.0%}",
        f"{line.peak / MIB:.0f}",
        f"{line.peak / peer.peak:.2f}" if peer else "",
        f"{tokens:.0f}",
    ]


def line_range(line: Measured) -> str:
    """The shortest and the longest iteration, in seconds."""
    seconds = [turn["seconds"] for turn in line.turns]
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


def write_page(
    path: Path, results: Sequence[Rows], *, machine: Sequence[str], command: str
) -> None:
    """Write the Markdown page."""
    lines = ["# GRPO and RLOO on a real model", "", f"`{command}`", ""]
    lines += [*(f"- {line}" for line in machine), "", READING, ""]
    named = ""
    for rows in results:
        rates, workload = rows.rates, rows.workload
        if workload.name != named:
            named = workload.name
            lines += [
                f"## {named}",
                "",
                f"{workload.num_prompts} prompts of {rows.prompt_tokens:.0f} tokens, "
                f"{workload.num_generations} responses of up to {workload.max_response_length} to "
                "each.",
                "",
            ]
        lines += [
            f"Matmul {rates.matmul_fp32 / 1e9:.0f} GFLOP/s in fp32, "
            f"{rates.matmul_bf16 / 1e9:.0f} in bf16; "
            f"memory is read at {rates.read / 1e9:.1f} GB/s.",
            "",
        ]
        cells = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]
        cells += [row_of(line, rows) for line in rows.measured]
        lines += [*("| " + " | ".join(row) + " |" for row in cells), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
