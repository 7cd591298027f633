"""Direct preference optimization from rankings.

    accelerate launch --config_file accelerate_config.yaml recipes/dpo.py --config FILE.yaml

The recipe itself is rlhf/recipes/dpo.py.
"""

from rlhf.recipes.dpo import main
from rlhf.runtime.entrypoint import run

if __name__ == "__main__":
    run(main)
