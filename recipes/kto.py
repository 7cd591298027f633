"""Kahneman-Tversky optimization from thumbs.

    accelerate launch --config_file accelerate_config.yaml recipes/kto.py --config FILE.yaml

The recipe itself is rlhf/recipes/kto.py.
"""

from rlhf.recipes.kto import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
