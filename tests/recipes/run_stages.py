"""Recipes one after another in the processes of one launch: their imports are paid for once.

    rlhf launch --num_processes 2 tests/recipes/run_stages.py JOBS.json

JOBS.json is a list of [recipe's path, [its words]].
"""

import json
import runpy
import sys
from pathlib import Path

from rlhf.runtime.entrypoint import run


def main() -> None:
    """Each recipe's `main` with its words as the command line."""
    for recipe, words in json.loads(Path(sys.argv[1]).read_text()):
        sys.argv[:] = [recipe, *words]
        runpy.run_path(recipe)["main"]()


if __name__ == "__main__":
    run(main)
