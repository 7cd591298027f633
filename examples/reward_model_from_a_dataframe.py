"""Train a reward model from a DataFrame of rankings. About a minute on two CPU cores.

    python examples/reward_model_from_a_dataframe.py [OUTPUT_DIR]

Each row holds a prompt, several responses and their ranks: 1 is best, equal ranks tie. Here the
rankings are made up: a complete sentence is better than a fragment, a fragment than nonsense.
"""

import random
import sys

import pandas as pd

import rlhf

OUTPUT = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/reward_model"
THINGS = "cup hat ring bell spoon letter basket plate".split()
PLACES = "garden kitchen school shop river hall".split()


def ranking(rng: random.Random) -> dict[str, object]:
    """One row: the prompt asks where a thing is; two fragments tie behind the sentence."""
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    nonsense = " ".join(rng.sample(PLACES, 3))
    return {
        "prompt": f"The {thing} is in the {place}. Where is the {thing}?",
        "responses": [f"The {thing} is in the {place}.", place, f"the {place}", nonsense],
        "ranks": [1, 2, 2, 4],
        "annotator": rng.choice(["Ann", "Tom"]),
    }


rng = random.Random(0)
rankings = pd.DataFrame([ranking(rng) for _ in range(400)])
trainer = rlhf.RewardTrainer(
    "data/pocket/model",
    rankings,
    config=rlhf.RewardModelConfig(
        max_steps=60, learning_rate=3e-4, ties="rao_kupper", eval_steps=30
    ),
    normalization_data="data/pocket/demonstrations.jsonl",
    output_dir=OUTPUT,
    overwrite=True,
)
trainer.train()
trainer.save()

evaluations = [line for line in trainer.metrics if "eval_accuracy" in line]
for line in evaluations:
    print(f"step {line['step']:3}: held-out accuracy {line['eval_accuracy']:.3f}")
prompt = "The hat is in the hall. Where is the hat?"
responses = ["The hat is in the hall.", "hall", "river shop garden"]
for response, score in zip(responses, trainer.score([prompt] * 3, responses), strict=True):
    print(f"{score:7.2f}  {response}")
print(f"use it: rlhf ppo --reward {OUTPUT} …")
