"""Rejection sampling: SFT on the best of K responses.

    python recipes/rejection_sampling.py --config FILE.yaml

The recipe itself is rlhf/recipes/rejection_sampling.py.
"""

from rlhf.recipes.rejection_sampling import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
