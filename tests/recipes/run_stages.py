"""Run recipes one after another in the processes of one launch, so that imports run only once.

    rlhf launch --num_processes 2 tests/recipes/run_stages.py JOBS.json

JOBS.json is a list of [path of the recipe, [its arguments]].
"""

import json
import runpy
import sys
from pathlib import Path

from rlhf.runtime.entrypoint import run


def main() -> None:
    """Run the `main` of each recipe with its arguments."""
    for recipe, arguments in json.loads(Path(sys.argv[1]).read_text()):
        sys.argv[:] = [recipe, *arguments]
        runpy.run_path(recipe)["main"]()


if __name__ == "__main__":
    run(main)
