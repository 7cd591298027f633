"""An experiment over seeds runs those that --results lacks."""

from recipes.seed_results import add_seed
from recipes.seed_runs import run_missing, seed_parser


def test_seeds_in_the_named_file_are_not_run(tmp_path):
    """Seed 2 is in the file; another experiment's seed 5 is not in the table."""
    results, ran = tmp_path / "r.jsonl", []
    for seed in (2, 5):
        add_seed(results, seed, {"KL": 9.0}, threads=None)

    def run(folder, seed):
        ran.append(folder)
        return {"KL": float(seed), "gate": "pass"}

    parser = seed_parser("", "runs/x", range(3))
    args = parser.parse_args(["--results", str(results)])
    found = run_missing(args, tmp_path, run, threads=1)
    assert found == {0: {"KL": 0.0}, 1: {"KL": 1.0}, 2: {"KL": 9.0}}
    assert ran == [tmp_path / "seed-0", tmp_path / "seed-1"]
    args = parser.parse_args(["--seeds", "1"])
    for _ in range(2):  # without the option each seed is run
        assert run_missing(args, tmp_path, run, threads=1) == {1: {"KL": 1.0}}
    assert ran[2:] == [tmp_path / "seed-1"] * 2
