"""python -m benchmarks.group_learning MODEL: what GRPO learns per response, compared with TRL 1.16.

    python -m benchmarks.group_learning SmolLM2-135M-Instruct --seeds 0 1 --iterations 20

Both engines get the same prompts, keys and reward (benchmarks/length_reward.py: responses of 120
characters). The page has no speed, so the machine may be busy.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean

from benchmarks.groups import REWARD, GroupWorkload, write_prompts
from benchmarks.learning import Curve, curve_of, spread
from benchmarks.measure import measure
from benchmarks.results import machine_lines
from benchmarks.workloads import Engine, Job, Variant

ENGINES: Sequence[tuple[Engine, str]] = (("rlhf", "rlhf"), ("trl_groups", "trl"))
HEADER = ("engine", "first score", "final score", "final KL, nats per response", "seeds")
READING = """\
GRPO on {model}: {prompts} prompts with {generations} responses of up to {length} tokens per
iteration, {iterations} iterations, one optimizer step each, learning rate {rate:g} with linear
decay, KL coefficient {kl:g}, bf16. The score is minus the distance of a response's length from 120
characters, in hundreds. First and final are means of the first and the last quarter of the
iterations, ± the standard error over seeds. TRL's KL is its mean per token times the mean
length."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train with both engines, and write the page."""
    options = _parser().parse_args(argv)
    workload = GroupWorkload(
        name="learning",
        num_prompts=options.prompts,
        num_generations=options.generations,
        prompt_tokens=0,
        max_response_length=options.max_response_length,
    )
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        prompts, _ = write_prompts(workload, options.model, Path(scratch) / "prompts")
        for seed in options.seeds:
            folder = Path(scratch) / f"seed-{seed}"
            jobs = [_job(workload, options, engine, prompts, folder, seed) for engine in ENGINES]
            measured, _ = measure(jobs, folder, peer_python=Path(sys.executable), warm_up=0)
            curves += map(curve_of, measured)
            print(f"seed {seed}: {[round(curve.scores[-1], 2) for curve in curves[-2:]]}")
    command = " ".join(["python -m benchmarks.group_learning", *(argv or sys.argv[1:])])
    text = READING.format(
        model=Path(options.model).name,
        prompts=options.prompts,
        generations=options.generations,
        length=options.max_response_length,
        iterations=options.iterations,
        rate=options.learning_rate,
        kl=options.kl_coef,
    )
    # Without the load: the page has no speed.
    machine = machine_lines(options.threads, peer=f"trl {version('trl')}")[:-1]
    page = ["# What GRPO learns", "", f"`{command}`", "", *(f"- {line}" for line in machine), ""]
    page += [text, "", *learning_rows(curves)]
    Path(options.output).write_text("\n".join(page) + "\n", encoding="utf-8")
    return 0


def learning_rows(curves: Sequence[Curve]) -> list[str]:
    """A Markdown table with a row for each engine, and the mean difference of its final scores."""
    table = [f"| {' | '.join(HEADER)} |", "| --- | ---: | ---: | ---: | ---: |"]
    finals: list[list[float]] = []
    for _, label in ENGINES:
        runs = [curve for curve in curves if curve.label == label]
        quarter = max(1, len(runs[0].scores) // 4)
        finals.append([mean(run.scores[-quarter:]) for run in runs])
        cells = [
            spread([mean(run.scores[:quarter]) for run in runs]),
            spread(finals[-1]),
            spread([mean(run.kls[-quarter:]) for run in runs]),
            str(len(runs)),
        ]
        table.append(f"| {label} | {' | '.join(cells)} |")
    differences = [ours - theirs for ours, theirs in zip(*finals, strict=True)]
    return [*table, "", f"Final score of rlhf less TRL's, paired by seed: {spread(differences)}."]


def _job(
    workload: GroupWorkload,
    options: argparse.Namespace,
    engine: tuple[Engine, str],
    prompts: Path,
    folder: Path,
    seed: int,
) -> Job:
    name, label = engine
    return Job(
        policy=options.model,
        reward_model=REWARD,
        prompts=str(prompts),
        output_dir=str(folder / f"out-{label}"),
        iterations=options.iterations,
        seed=seed,
        batch_size=workload.num_prompts * workload.num_generations,
        num_epochs=1,
        num_minibatches=1,
        max_prompt_length=128,
        max_response_length=workload.max_response_length,
        learning_rate=options.learning_rate,
        kl_coef=options.kl_coef,
        missing_eos_penalty=None,
        variant=Variant(
            engine=name, label=label, method="grpo", bf16=True, num_threads=options.threads
        ),
        num_generations=workload.num_generations,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.group_learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="Folder of a chat model.")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--iterations", type=int, default=40)
    add("--prompts", type=int, default=4, help="Prompts per iteration.")
    add("--generations", type=int, default=8, help="Responses per prompt.")
    add("--max_response_length", type=int, default=64, help="Longest response, in tokens.")
    add("--learning_rate", type=float, default=1e-5)
    add("--kl_coef", type=float, default=0.05)
    add("--threads", type=int, default=2, help="CPU threads of an engine.")
    add("--output", default="benchmarks/GROUP-LEARNING.md", help="Results page.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
