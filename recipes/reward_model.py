"""Train a reward model on rankings or preference pairs.

    accelerate launch --config_file accelerate_config.yaml recipes/reward_model.py --config FILE

The recipe itself is rlhf/recipes/reward_model.py.
"""

from rlhf.recipes.reward_model import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
