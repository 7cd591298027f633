"""GPU.md, from the lines of results.jsonl. Imports only the standard library."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.sections import PPO_MINIBATCHES, Section, Sizes
from benchmarks.gpu.work import decoded_bytes, trained_flops

GIB = 2**30
COLUMNS = (
    "section", "seconds", "range", "tokens/s", "× TRL", "rollout s", "score s", "update s",
    "training, share of matmul rate", "rollout, share of read rate", "planned s", "peak GiB",
    "planned GiB",
)  # fmt: skip
BASELINE = "TRL GRPO"
READING = """\
Each section is a process of its own. Seconds are the median of the counted steps, or iterations of
PPO and GRPO, and *range* is the fastest and the slowest; the first step is not counted. Tokens are
those that a step of SFT or a reward model reads, or that an iteration of PPO or GRPO samples.
`TRL` is TRL 1.16 without vLLM, in bf16, with gradient checkpointing unless the section says
otherwise. Shares refer to counted work: each row once with its prompt, logits only at response
tokens, causal attention, a backward pass of twice the forward pass, no recomputation; a decoding
step reads every weight and all keys and values so far in bf16. The rates were measured in the
same run. The peak is that of the memory of tensors on the GPU; a server has memory of its own.
*Planned* is what `rlhf plan` predicts; its peak has half a gigabyte for CUDA in addition."""
Line = Mapping[str, Any]


def write_page(
    path: Path, planned: Sequence[Section], sizes: Sizes, results: Sequence[Line]
) -> None:
    """Write the page."""
    found = {(line["model"], line["section"]): line for line in results}
    machines = [line for line in results if line["stage"] == "machine" and "error" not in line]
    lines = ["# One GPU", "", *machine_lines(machines), READING, "", *work_lines(sizes)]
    for model in dict.fromkeys(section.model.name for section in planned):
        of_model = [section for section in planned if section.model.name == model]
        rows = [
            row_of(section, sizes, found, machines)
            for section in of_model
            if "seconds" in found.get(section.key, {})
        ]
        if rows:
            lines += ["", f"## {model}", "", *_table(COLUMNS, rows)]
    lines += ["", *fsdp_lines(results), *failed_lines(results), *open_lines(planned, found)]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def machine_lines(machines: Sequence[Line]) -> list[str]:
    """The machine and its rates: the highest of several measurements, since noise only slows."""
    if not machines:
        return []
    lines = [f"- {line}" for line in machines[-1]["lines"]]
    lines.append(
        f"- matmul {best(machines, 'matmul_bf16') / 1e12:.2f} TFLOP/s in bf16 and "
        f"{best(machines, 'matmul_fp32') / 1e12:.2f} in fp32; memory "
        f"is read at {best(machines, 'read') / 1e9:.0f} GB/s"
    )
    if not machines[-1]["on_gpu"]:
        lines.append("- **measured on a CPU: this page tells nothing about a GPU**")
    return [*lines, ""]


def work_lines(sizes: Sizes) -> list[str]:
    """The work of a step."""
    return [
        f"SFT: {sizes.sft_rows} packed rows of {sizes.row_tokens} tokens. Reward model: "
        f"{sizes.pairs} pairs. PPO and GRPO: {sizes.responses} responses of up to "
        f"{sizes.response_tokens} tokens, {sizes.num_generations} to a prompt in GRPO; PPO has "
        f"{PPO_MINIBATCHES} optimizer steps, GRPO one. Prompts have {sizes.prompt_tokens} tokens."
    ]


def row_of(
    section: Section, sizes: Sizes, found: Mapping[Any, Line], machines: Sequence[Line]
) -> list[str]:
    """The cells of a section; see COLUMNS."""
    line = found[section.key]
    trl = found.get((section.model.name, BASELINE), {})
    is_compared = section.stage in ("grpo", "trl") and "seconds" in trl
    phases = [line.get(f"seconds_{phase}") for phase in ("rollout", "score", "update")]
    flops = trained_flops(section, sizes)
    trained = line.get("seconds_update", line["seconds"])
    rollout, moved = phases[0], decoded_bytes(section, sizes)
    fast, slow = line["range"]
    plan = found.get((section.model.name, "plan"), {}).get("plans", {}).get(section.name)
    return [
        section.name,
        f"{line['seconds']:.3g}",
        f"{fast:.3g} to {slow:.3g}",
        f"{line['tokens'] / line['seconds']:,.0f}",
        f"{_rate(line) / _rate(trl):.2f}" if is_compared else "",
        *("" if phase is None else f"{phase:.3g}" for phase in phases),
        f"{flops / trained / best(machines, 'matmul_bf16'):.1%}" if flops and machines else "",
        f"{moved / rollout / best(machines, 'read'):.1%}" if rollout and machines else "",
        f"{plan['seconds']:.3g}" if plan else "",
        f"{line['peak_bytes'] / GIB:.2f}",
        f"{plan['peak_bytes'] / GIB:.2f}" if plan else "",
    ]


def best(machines: Sequence[Line], rate: str) -> float:
    """The highest measurement of a rate."""
    return max(float(line[rate]) for line in machines)


def fsdp_lines(results: Sequence[Line]) -> list[str]:
    """What sharding changed in the losses."""
    return [
        f"{line['section']}: the losses of whole and sharded weights differ by at most "
        f"{max(abs(a - b) for a, b in zip(line['losses'], line['losses_whole'], strict=True)):.2g} "
        f"of {line['losses_whole'][0]:.1f} nats per response.\n"
        for line in results
        if "losses_whole" in line
    ]


def failed_lines(results: Sequence[Line]) -> list[str]:
    """A table of the sections that failed."""
    rows = [
        [line["model"], line["section"], line["error"].replace("|", "\\|")]
        for line in results
        if "error" in line
    ]
    return ["## Failed", "", *_table(("model", "section", "error"), rows), ""] if rows else []


def open_lines(planned: Sequence[Section], found: Mapping[Any, Line]) -> list[str]:
    """The sections that did not begin."""
    names = [
        f"{model}: {name}" for model, name in (s.key for s in planned) if (model, name) not in found
    ]
    return ["## Not run", "", *(f"- {name}" for name in names)] if names else []


def _rate(line: Line) -> float:
    return float(line["tokens"] / line["seconds"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)] if "seconds" in head else ["---"] * len(head)
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
