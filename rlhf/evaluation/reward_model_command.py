"""Report on a reward model: its health on held-out labels, or a public benchmark.

    rlhf evaluate-reward-model --reward_model DIR --rankings FILE --output_dir OUT
    rlhf evaluate-reward-model --reward_model DIR --benchmark rewardbench2 --data FILE \\
        --output_dir OUT

Without benchmark, evaluation.json and gate.json in the output folder have the health report. With
it, NAME.json has the score as the benchmark's own rule gives it, and a table of its subsets. Then
reward_model is any source of rewards: a folder or hub id of a sequence classifier with one label,
the YAML file of a generative reward model, file.py:function, an address, judge:FILE.yaml,
verifier:NAME, or `length`.
"""

from collections.abc import Sequence
from pathlib import Path

from rlhf.errors import STATUS_DONE, ConfigError
from rlhf.evaluation.benchmarks.config import BenchmarkConfig
from rlhf.evaluation.reward_model.config import LABELS, ReportConfig, check_report
from rlhf.runtime.config import parse_config

# Functions import what loads torch: a mistake in keys is reported without waiting for it.


def main(argv: Sequence[str]) -> int:
    """`rlhf evaluate-reward-model`."""
    report, benchmark = parse_config(
        ReportConfig,
        BenchmarkConfig,
        description=__doc__,
        argv=list(argv),
        prog="rlhf evaluate-reward-model",
    )
    if benchmark.benchmark is None:
        check_report(report)
        from rlhf.evaluation.reward_model.cli import write_report_of

        write_report_of(report)
        return STATUS_DONE
    check_keys(report, benchmark)
    run_benchmark(report, benchmark)
    return STATUS_DONE


def check_keys(report: ReportConfig, benchmark: BenchmarkConfig) -> None:
    """Check that a benchmark has neither labels nor two kinds of judges.

    Raises:
        ConfigError: one of these.
    """
    for key in (*LABELS, "probability_column", "demonstrations"):
        if getattr(report, key) is not None:
            raise ConfigError(
                f"{key} is for the health report, not for benchmark={benchmark.benchmark}; leave "
                "it out.",
                code="key-conflict",
            )
    sources = {
        "reward_model": report.reward_model,
        "policy": benchmark.policy,
        "llm_judge": benchmark.llm_judge,
    }
    given = [key for key, value in sources.items() if value is not None]
    if len(given) != 1:
        raise ConfigError(
            f"{' and '.join(given) or 'no reward'}: give one of {', '.join(sources)}.",
            code="key-conflict" if given else "missing-key",
        )


def run_benchmark(report: ReportConfig, benchmark: BenchmarkConfig) -> None:
    """Read, judge, write, print.

    Raises:
        RLHFError: as the functions that it calls.
    """
    import torch

    from rlhf.data.files.read import source_sha256
    from rlhf.data.rows.bad_rows import REJECTS, BadRows
    from rlhf.data.tokenization.template import parse_template_kwargs
    from rlhf.evaluation.benchmarks.benchmark import read_cases
    from rlhf.evaluation.benchmarks.run import (
        chosen_cases,
        judge_benchmark,
        print_benchmark,
        write_benchmark,
    )
    from rlhf.rewards.templates import JudgeTemplate
    from rlhf.runtime.distributed import print_once, start_processes
    from rlhf.runtime.paths import make_folder
    from rlhf.runtime.printing import quiet_logs

    assert benchmark.benchmark is not None
    start_processes(report.cpu_threads)
    quiet_logs()
    folder = Path(report.output_dir)
    make_folder(folder)
    with BadRows(drop=report.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        cases = read_cases(benchmark.benchmark, benchmark.data, bad_rows)
    template = JudgeTemplate(
        template=report.chat_template, kwargs=parse_template_kwargs(report.chat_template_kwargs)
    )
    result = judge_benchmark(
        chosen_cases(cases, benchmark.max_cases, report.seed),
        benchmark,
        report.reward_model,
        template,
        seed=report.seed,
        device=torch.accelerator.current_accelerator() or torch.device("cpu"),
        log=print_once,
    )
    hashes = {file: source_sha256(file) for file in benchmark.data}
    path = write_benchmark(folder, result, hashes)
    print_benchmark(result, print_once)
    print_once(f"table: {path}")
