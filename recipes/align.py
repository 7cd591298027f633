"""Run all stages: SFT, responses, labels, reward model, PPO, evaluation, report.

    accelerate launch --config_file accelerate_config.yaml recipes/align.py --config FILE.yaml

The recipe itself is rlhf/recipes/align.py.
"""

from rlhf.recipes.align import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
