"""A calculator: PPO makes a model call a tool that makes its sums right.

    python recipes/toy_tasks/calculator.py --seeds 0 1 2 3 4

SFT learns from dialogues of which half call the tool and the others answer at once. PPO
starts from that model, in an environment that answers calls, on other questions. Only right answers
are rewarded, and no call is.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.calls.world import (  # noqa: E402
    CHAT_TEMPLATE,
    CONTROL,
    RESPONSE_TEMPLATE,
    SYMBOLS,
    demonstrations,
    prompt_rows,
)
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    TOY_TASKS,
    Metrics,
    run_recipe,
    run_seeds,
    write_rows,
)
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer  # noqa: E402

DIALOGUES, PROMPTS, HELD_OUT = 5000, 4000, 500
CALLS = 0.5  # share of the dialogues that call the tool
LAST = 5  # iterations whose calls are counted


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Train the SFT model and the policy; returns how often each is right, and how often it calls.

    jobs: not used; PPO needs the SFT model.
    """
    tokenizer = make_tokenizer(
        SYMBOLS,
        control=CONTROL,
        chat_template=CHAT_TEMPLATE,
        response_template=RESPONSE_TEMPLATE,
    )
    make_model(folder / "base", tokenizer, seed=seed, num_attention_heads=2)
    sft = run_recipe(
        folder / "sft",
        "sft",
        "calls/sft.yaml",
        model_name_or_path=str(folder / "base"),
        train_data=write_rows(
            folder / "dialogues.jsonl", demonstrations(seed, DIALOGUES, calls=CALLS)
        ),
        seed=seed,
    )
    ppo = run_recipe(
        folder / "ppo",
        "ppo",
        "calls/ppo.yaml",
        model_name_or_path=str(sft),
        environment=f"{TOY_TASKS / 'calls' / 'world.py'}:Calculator",
        train_data=write_rows(
            folder / "prompts.jsonl", prompt_rows(seed, PROMPTS, start=DIALOGUES)
        ),
        eval_data=write_rows(
            folder / "prompts_heldout.jsonl",
            prompt_rows(seed, HELD_OUT, start=DIALOGUES + PROMPTS),
        ),
        seed=seed,
    )
    return learned(ppo / "metrics.jsonl")


def learned(path: Path) -> Metrics:
    """What a run's metrics say about the model before it and after it."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.open(encoding="utf-8")]
    scores = [line["eval_score"] for line in lines if "eval_score" in line]
    calls = [line["tool_calls"] for line in lines if "tool_calls" in line]
    return {
        "sft: right": scores[0],
        "ppo: right": scores[-1],
        "sft: calls": calls[0],
        "ppo: calls": sum(calls[-LAST:]) / LAST,
        "ppo: KL": lines[-1]["eval_kl"],
    }


if __name__ == "__main__":
    run_seeds("calculator", __doc__, run)
