"""Supervised fine-tuning on demonstrations.

    accelerate launch --config_file accelerate_config.yaml recipes/sft.py --config FILE.yaml

The recipe itself is rlhf/recipes/sft.py.
"""

from rlhf.recipes.sft import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
