"""Optimize a policy with PPO, GRPO or a relative.

    accelerate launch --config_file accelerate_config.yaml recipes/ppo.py --config FILE.yaml

The recipe itself is rlhf/recipes/ppo.py.
"""

from rlhf.recipes.ppo import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
