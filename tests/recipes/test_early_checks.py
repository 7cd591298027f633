"""What is checked of data sources before torch is imported."""

from rlhf.recipes.early_checks import check_files
from tests.errors import raises


def test_only_local_files_are_looked_for():
    """The others are read from the hub later, seconds after the start."""
    check_files("hf://datasets/org/set/rows.jsonl", ["0.5*hf://datasets/org/set/a.csv", "org/set"])
    check_files(None, [])
    with raises("missing-file", "none.jsonl"):
        check_files(["org/set", "2*none.jsonl"])
