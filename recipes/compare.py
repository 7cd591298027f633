"""Compare methods of policy training on the same labels.

    accelerate launch --config_file accelerate_config.yaml recipes/compare.py --config FILE.yaml

The recipe itself is rlhf/recipes/compare.py.
"""

from rlhf.recipes.compare import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
