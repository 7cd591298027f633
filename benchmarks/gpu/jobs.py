"""What the process of a section is told: its module, and a job in JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.sections import PPO_MINIBATCHES, Section, Sizes, keys, stages
from benchmarks.gpu.work import EXAMPLES_PER_ROW
from benchmarks.workloads import Job, Variant

REWARD = Path(__file__).parents[1] / "length_reward.py"
# Section -> its module in benchmarks/gpu. All of them are called with JOB.json RESULT.json.
MODULES = {
    "machine": "machine",
    "inputs": "inputs",
    "plan": "plans",
    "sft": "recipe",
    "reward_model": "recipe",
    "ppo": "recipe",
    "grpo": "recipe",
    "trl": "trl_grpo",
    "fsdp2": "fsdp2",
}
RECIPES = {"sft": "sft", "reward_model": "reward_model", "ppo": "ppo", "grpo": "ppo"}
NEVER = 10**6  # steps
LEARNING_RATE, KL_COEF = 1e-6, 0.05


def job_of(section: Section, sizes: Sizes, inputs: Path, run: Path) -> dict[str, Any]:
    """The job of a section.

    Args:
        section: what to measure.
        sizes: the work of a step.
        inputs: folder with the model and the rows.
        run: folder that the run may write.
    """
    if section.stage == "machine":
        return {"seconds": 0.1 if section.model.name == "small" else 1.0}
    if section.stage == "inputs":
        return {
            "folder": str(inputs),
            "family": section.model.family,
            "shape": vars(section.model.shape),
            "sizes": vars(sizes),
        }
    if section.stage == "trl":
        return trl_job(section, sizes, inputs, run)
    if section.stage == "fsdp2":
        return {"model": str(inputs / "policy"), "sizes": vars(sizes)}
    if section.stage == "plan":
        model = section.model
        recipes = [each for each in (*stages(model), *keys(model)) if each.stage in RECIPES]
        return {"recipes": {each.name: recipe_job(each, sizes, inputs, run) for each in recipes}}
    return recipe_job(section, sizes, inputs, run)


def recipe_job(section: Section, sizes: Sizes, inputs: Path, run: Path) -> dict[str, Any]:
    """A recipe with its arguments, and the lengths of its rows in tokens."""
    prompt, response = sizes.prompt_tokens, sizes.response_tokens
    if section.stage == "sft":
        prompt = response = sizes.row_tokens // EXAMPLES_PER_ROW // 2
    words = recipe_keys(section, sizes, inputs, run)
    return {
        "recipe": RECIPES[section.stage],
        "run": str(run),
        "words": [f"--{name}={value}" for name, value in words.items()],
        "tokens": tokens_of_a_step(section, sizes),
        "responses": sizes.responses,
        "prompt": prompt,
        "response": response,
    }


def recipe_keys(section: Section, sizes: Sizes, inputs: Path, run: Path) -> Mapping[str, Any]:
    """Keys of the recipe: model, rows and work of a step; the other keys have their defaults."""
    own: dict[str, Any] = {
        "model_name_or_path": inputs / "policy",
        "output_dir": run,
        "bf16": True,
        "max_steps": 1 + sizes.steps,
        "logging_steps": 1,
        "save_steps": NEVER,
        "eval_steps": NEVER,
        "show_rows": 0,
        "skip_plan": True,  # the plans of a GPU have not been compared with one yet
    }
    if section.stage == "sft":
        own |= {
            "train_data": inputs / "demonstrations.jsonl",
            "max_length": sizes.row_tokens,
            "per_device_train_batch_size": sizes.sft_rows,
            "eval_fraction": 0,
            "num_samples": 0,
        }
    elif section.stage == "reward_model":
        own |= {
            "train_data": inputs / "pairs.jsonl",
            "max_length": sizes.prompt_tokens + sizes.response_tokens + 1,
            "per_device_train_batch_size": sizes.pairs,
            "eval_fraction": 0,
            "num_samples": 0,
        }
    else:
        own |= ppo_keys(section, sizes, inputs)
    return {**own, **section.keys}


def ppo_keys(section: Section, sizes: Sizes, inputs: Path) -> Mapping[str, Any]:
    """Keys of PPO against a reward model of the policy's size, or of GRPO with a function."""
    own: dict[str, Any] = {
        "train_data": inputs / "prompts.jsonl",
        "normalize_reward": "none",
        "rollout_batch_size": sizes.responses,
        "max_prompt_length": sizes.prompt_tokens,
        "max_completion_length": sizes.response_tokens,
        "num_ppo_epochs": 1,
        "num_eval_prompts": 1,
        "learning_rate": LEARNING_RATE,
        "kl_coef": KL_COEF,
    }
    if section.stage == "ppo":
        return own | {"reward": inputs / "reward_model", "num_minibatches": PPO_MINIBATCHES}
    return own | {
        "reward": f"{REWARD}:reward",
        "advantage": "grpo",
        "num_generations": sizes.num_generations,
        "num_minibatches": 1,
    }


def trl_job(section: Section, sizes: Sizes, inputs: Path, run: Path) -> dict[str, Any]:
    """The same work as that of GRPO, for TRL."""
    job = Job(
        policy=str(inputs / "policy"),
        reward_model="",
        prompts=str(inputs / "prompts.jsonl"),
        output_dir=str(run),
        iterations=1 + sizes.steps,
        seed=0,
        batch_size=sizes.responses,
        num_epochs=1,
        num_minibatches=1,
        max_prompt_length=sizes.prompt_tokens,
        max_response_length=sizes.response_tokens,
        learning_rate=LEARNING_RATE,
        kl_coef=KL_COEF,
        missing_eos_penalty=None,
        variant=Variant(
            engine="trl_groups",
            label=section.name,
            bf16=True,
            method="grpo",
            rows_per_device=sizes.microbatch_rows,
            **section.keys,
        ),
        num_generations=sizes.num_generations,
    )
    return job.as_dict()


def tokens_of_a_step(section: Section, sizes: Sizes) -> int:
    """Tokens that a step of SFT or of a reward model reads."""
    if section.stage == "sft":
        return sizes.sft_rows * sizes.row_tokens
    return 2 * sizes.pairs * (sizes.prompt_tokens + sizes.response_tokens + 1)
