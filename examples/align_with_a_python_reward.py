"""Align a model with a reward that is a Python function. About a minute on two CPU cores.

    python examples/align_with_a_python_reward.py [OUTPUT_DIR]

The bundled model of 2 M parameters is fine-tuned on demonstrations first, and then learns to answer
briefly.
"""

import sys

import rlhf

OUTPUT = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/brevity"


def brevity(prompts, completions, **columns):
    """The shorter the completion, the higher the reward; an empty one gets the lowest."""
    return [-len(text) / 50 if text.strip() else -2.0 for text in completions]


sft = rlhf.SFTTrainer(
    "data/pocket/model",
    "data/pocket/demonstrations.jsonl",
    config=rlhf.SFTConfig(
        max_steps=60, per_device_train_batch_size=2, learning_rate=1e-3, eval_steps=60
    ),
)
sft.train()
start = sft.save(f"{OUTPUT}-sft")

trainer = rlhf.PPOTrainer(
    start,
    prompts="data/pocket/prompts_ppo.jsonl",
    reward=brevity,
    eval_prompts="data/pocket/prompts_heldout.jsonl",
    config=rlhf.PPOConfig(
        max_steps=12,
        rollout_batch_size=64,
        max_completion_length=32,
        learning_rate=1e-4,
        kl_coef=0.02,
        eval_steps=4,
    ),
    output_dir=OUTPUT,
    overwrite=True,
)
questions = ["Tell me about a bell.", "The cup is in the school. Where is the cup?"]
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
