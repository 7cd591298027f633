"""Compare two checkpoints on held-out prompts, with confidence intervals. Under two minutes.

    python examples/compare_two_checkpoints.py [MODEL_A MODEL_B]

Without arguments it compares the bundled base model with the same model after 40 steps of SFT.
The judge is a Python function; a reward model's folder or an LLM judge works as well.
"""

import sys
import tempfile

import rlhf


def complete(prompts, completions, **columns):
    """1 for a response that is a sentence: a capital letter first, a full stop at its end."""
    return [float(text[:1].isupper() and text.rstrip().endswith(".")) for text in completions]


if len(sys.argv) == 3:
    models = {"A": sys.argv[1], "B": sys.argv[2]}
else:
    trainer = rlhf.SFTTrainer(
        "data/pocket/model",
        "data/pocket/demonstrations.jsonl",
        config=rlhf.SFTConfig(
            max_steps=40, per_device_train_batch_size=2, learning_rate=1e-3, eval_steps=40
        ),
    )
    trainer.train()
    models = {"A": "data/pocket/model", "B": str(trainer.save(tempfile.mkdtemp()))}

results = rlhf.evaluate(
    models,
    prompts="data/pocket/prompts_heldout.jsonl",
    judge=complete,
    baseline="A",
    max_prompts=100,
    max_completion_length=32,
)
print(results)
win = results.find(metric="win_rate", model="B")
print(f"B wins {win.value:.1%} of the time, 95% interval {win.low:.1%} to {win.high:.1%}")
