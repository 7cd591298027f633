"""Run an experiment over seeds: its options, and the seeds that its file of results lacks."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recipes.seed_results import Numbers, add_seed, read_numbers


def seed_parser(description: str, output_dir: str, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """A parser of --seeds, --output_dir and --results, with these defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--output_dir", default=output_dir, help="parent of all folders")
    parser.add_argument(
        "--results",
        type=Path,
        help="file of results; seeds in a file that is named are not run (default: results.jsonl "
        "in the output folder)",
    )
    return parser


def run_missing(
    args: argparse.Namespace,
    folder: Path,
    run: Callable[[Path, int], Mapping[str, float | str]],
    *,
    threads: int | None,
) -> dict[int, Numbers]:
    """The results of the seeds, once those that are not in --results are run.

    Args:
        args: of `seed_parser`.
        folder: the parent of the seed-N folders.
        run: (folder of a seed, seed) -> its metrics.
        threads: as in `add_seed`.
    """
    results = args.results or folder / "results.jsonl"
    for seed in args.seeds:
        if args.results and seed in read_numbers(results):
            print(f"seed {seed}: its results are in {results}")
            continue
        add_seed(results, seed, run(folder / f"seed-{seed}", seed), threads=threads)
    found = read_numbers(results)
    return {seed: found[seed] for seed in args.seeds}
