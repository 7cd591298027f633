"""Compare models on held-out prompts.

    accelerate launch --config_file accelerate_config.yaml recipes/evaluate.py --config FILE.yaml

The recipe itself is rlhf/recipes/evaluate.py.
"""

from rlhf.recipes.evaluate import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
