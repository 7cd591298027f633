"""Align a model with a reward that is a Python function. About a minute on two CPU cores.

    python examples/align_with_a_python_reward.py [OUTPUT_DIR]

The embedded 2 M-parameter model learns to answer briefly and to end its responses.
"""

import sys

import rlhf

OUTPUT = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/brevity"


def brevity(prompts, completions, **columns):
    """The shorter the completion, the higher the reward; an empty one gets the lowest."""
    return [-len(text) / 50 if text.strip() else -2.0 for text in completions]


trainer = rlhf.PPOTrainer(
    "data/pocket/model",
    prompts="data/pocket/prompts_ppo.jsonl",
    reward=brevity,
    eval_prompts="data/pocket/prompts_heldout.jsonl",
    config=rlhf.PPOConfig(
        max_steps=15,
        rollout_batch_size=64,
        max_completion_length=32,
        learning_rate=1e-4,
        kl_coef=0.02,
        eval_steps=5,
    ),
    output_dir=OUTPUT,
    overwrite=True,
)
questions = ["Tell me about a bell.", "Where is the cup? The cup is in the school."]
before = trainer.generate(questions)
trainer.train()
trainer.save()

for line in trainer.metrics:
    if "eval_score" in line:
        score, kl = line["eval_score"], line["eval_kl"]
        print(f"step {line['step']:3}: held-out score {score:.3f}, KL {kl:.2f} nats per response")
for question, old, new in zip(questions, before, trainer.generate(questions), strict=True):
    print(f"{question}\n  before: {old}\n  after:  {new}")
print(f"the policy is in {OUTPUT}; chat with it: rlhf chat {OUTPUT}")
