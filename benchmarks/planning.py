"""Compare the planner with runs on this machine's CPU: peak memory, and seconds of a step.

python -m benchmarks.planning --model DIR            # print the table
python -m benchmarks.planning --model DIR --write    # and write it into docs/how-to/plan.md

DIR is SmolLM2-135M-Instruct. The models of half the depth have its sizes and random weights. Each
run is one process with one thread. Its peak is the kernel's peak of resident memory. Its seconds
are processor time, which other programs change less than elapsed time: the median of the steps
after the first. Rates of the CPU are measured before each run, and the highest ones are used.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.measure import tree_bytes, tree_cpu_seconds
from rlhf.models.shape import GIB
from rlhf.pipeline.preflight import CLASSES
from rlhf.planning.case import Assumed, Target
from rlhf.planning.machines import Machine, this_cpu, with_rates
from rlhf.planning.plan import Plan
from rlhf.planning.rates import best_of, measure_rates
from rlhf.runtime.config import parse_config
from rlhf.training.ppo.plan import plan as ppo_plan
from rlhf.training.ppo.settings import settings_of
from rlhf.training.reward.plan import plan as reward_plan
from rlhf.training.sft.plan import plan as sft_plan

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/how-to/plan.md"
BLOCK = re.compile(r"(<!-- table: measured -->\n).*?(<!-- end of table -->)", re.DOTALL)
STEPS, LAYERS_OF_HALF = 3, 15
PROMPT_WORDS, RESPONSE_WORDS = 145, 66
# Tokens of the rows that these words make, and of the responses that are sampled.
LENGTHS = Assumed(prompt_tokens=176, response_tokens=68)
SAMPLED_LENGTHS = Assumed(prompt_tokens=176, response_tokens=58)
WORDS = "the red ball is in a small box near the old house by the sea".split()
REWARD = "def reward(prompts, completions):\n    return [len(text) / 100 for text in completions]\n"
Keys = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A configuration."""

    name: str
    recipe: str  # sft, reward_model, ppo
    half: bool = False
    keys: Keys


ROWS: Keys = {"max_length": 248, "eval_fraction": 0.0, "max_steps": STEPS, "num_samples": 0}
SFT: Keys = {**ROWS, "per_device_train_batch_size": 4}
REWARDS: Keys = {**ROWS, "per_device_train_batch_size": 2}
PPO: Keys = {
    "max_steps": STEPS,
    "rollout_batch_size": 8,
    "num_minibatches": 2,
    "num_ppo_epochs": 1,
    "max_prompt_length": 176,
    "max_completion_length": 64,
    "num_eval_prompts": 2,
    "max_tokens_per_microbatch": 1024,
}
RUNS = (
    Run(name="SFT, fp32", recipe="sft", keys={**SFT, "bf16": False}),
    Run(name="SFT, bf16", recipe="sft", keys={**SFT, "bf16": True}),
    Run(name="SFT, LoRA, bf16", recipe="sft", keys={**SFT, "bf16": True, "use_peft": True}),
    Run(
        name="SFT, fp32, checkpointing", recipe="sft", half=True,
        keys={**SFT, "bf16": False, "gradient_checkpointing": True},
    ),
    Run(name="reward model, fp32", recipe="reward_model", keys={**REWARDS, "bf16": False}),
    Run(name="reward model, bf16", recipe="reward_model", keys={**REWARDS, "bf16": True}),
    Run(
        name="reward model, LoRA, bf16", recipe="reward_model",
        keys={**REWARDS, "bf16": True, "use_peft": True},
    ),
    Run(name="PPO, separate, bf16", recipe="ppo", keys={**PPO, "bf16": True}),
    Run(name="PPO, separate, fp32", recipe="ppo", half=True, keys={**PPO, "bf16": False}),
    Run(
        name="PPO, shared trunk, bf16", recipe="ppo",
        keys={**PPO, "bf16": True, "mode": "shared_trunk"},
    ),
    Run(name="PPO, LoRA, bf16", recipe="ppo", keys={**PPO, "bf16": True, "mode": "lora"}),
    Run(
        name="GRPO, bf16", recipe="ppo",
        keys={**PPO, "bf16": True, "advantage": "grpo", "num_generations": 4},
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The plan of a run, and what was measured."""

    run: Run
    plan: Plan
    peak: int  # bytes
    seconds: float  # processor time of a step

    def cells(self) -> list[str]:
        """A row of the table."""
        planned = self.plan.memory.peak
        return [
            self.run.name,
            f"{self.plan.parameters / 1e6:.0f} M",
            f"{planned / GIB:.2f}",
            f"{self.peak / GIB:.2f}",
            f"{planned / self.peak - 1:+.0%}",
            f"{self.plan.step_seconds:.1f}",
            f"{self.seconds:.1f}",
            f"{self.plan.step_seconds / self.seconds:.2f}",
        ]


def main() -> None:
    """Run all configurations and print the table; with --write, put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M-Instruct.")
    parser.add_argument("--only", default="", help="Run those whose name has this text.")
    parser.add_argument("--write", action="store_true", help=f"write it into {PAGE.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.model)
        rates, measured = [], []
        for run in RUNS:
            if options.only in run.name:
                rates.append(measure_rates(torch.get_num_threads()))
                words = words_of(run, folder, options.model)
                measured.append((run, words, *measure(run, words, folder / "log")))
        machine = with_rates(this_cpu(), best_of(rates))
        results = [
            Compared(run=run, plan=plan_of(run, words, machine), peak=peak, seconds=seconds)
            for run, words, peak, seconds in measured
        ]
    table = as_table(results)
    print(table)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        text = BLOCK.sub(lambda match: f"{match[1]}\n{table}\n{match[2]}", page)
        PAGE.write_text(text, encoding="utf-8")


def write_inputs(folder: Path, model: Path) -> None:
    """The model of half the depth, rows of equal lengths, and a reward function."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = AutoConfig.from_pretrained(model)
    config.num_hidden_layers = LAYERS_OF_HALF
    models: Any = AutoModelForCausalLM  # whose methods have no types
    models.from_config(config, dtype=torch.float32).save_pretrained(folder / "half")
    tokenizer.save_pretrained(folder / "half")
    if (generation := model / "generation_config.json").is_file():
        shutil.copy(generation, folder / "half")
    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(200)) for i in range(64)]
    prompts = [" ".join(text.split()[:PROMPT_WORDS]) for text in texts]
    answers = [" ".join(text.split()[:RESPONSE_WORDS]) for text in texts]
    others = [" ".join(reversed(answer.split())) for answer in answers]
    _write(folder / "sft.jsonl", [
        {"prompt": prompt, "completion": answer}
        for prompt, answer in zip(prompts, answers, strict=True)
    ])  # fmt: skip
    _write(folder / "reward_model.jsonl", [
        {"prompt": f"{i} {prompt}", "chosen": answer, "rejected": other}
        for i, (prompt, answer, other) in enumerate(zip(prompts, answers, others, strict=True))
    ])  # fmt: skip
    _write(folder / "ppo.jsonl", [{"prompt": prompt} for prompt in prompts])
    (folder / "reward.py").write_text(REWARD)


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def words_of(run: Run, folder: Path, model: Path) -> list[str]:
    """The command line of the run."""
    output = folder / run.name.replace(" ", "-")
    keys: dict[str, object] = {
        "model_name_or_path": folder / "half" if run.half else model,
        "train_data": folder / f"{run.recipe}.jsonl",
        "output_dir": output,
        "cpu_threads": torch.get_num_threads(),
        "logging_steps": 1,
        **run.keys,
    }
    if run.recipe == "ppo":
        keys["reward"] = f"{folder}/reward.py:reward"
        if run.name == "PPO, separate, bf16":
            keys["reward"] = folder / "reward-model,-bf16"
    return [f"--{key}={value}" for key, value in keys.items()]


def plan_of(run: Run, words: Sequence[str], machine: Machine) -> Plan:
    """The plan for this machine and the lengths of the rows here."""
    target = Target(machine=machine, num_devices=1)
    lengths = SAMPLED_LENGTHS if run.recipe == "ppo" else LENGTHS
    return plan_of_words(run.recipe, words, target, lengths)


def plan_of_words(recipe: str, words: Sequence[str], target: Target, lengths: Assumed) -> Plan:
    """The plan of sft, reward_model or ppo with these arguments."""
    configs = parse_config(*CLASSES[recipe], description=None, argv=list(words))
    if recipe == "ppo":
        return ppo_plan(settings_of(configs), target, lengths)
    _, model, data, config = configs
    if recipe == "sft":
        return sft_plan(model, data, config, target, assumed=lengths)
    return reward_plan(model, data, config, target, assumed=lengths)


def measure(run: Run, words: Sequence[str], log: Path) -> tuple[int, float]:
    """Peak bytes of a process that runs the recipe, and processor seconds of a step."""
    command = [sys.executable, str(ROOT / "recipes" / f"{run.recipe}.py"), *words]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    [folder] = [word.partition("=")[2] for word in words if word.startswith("--output_dir=")]
    metrics = Path(folder) / "metrics.jsonl"
    peak, ends = 0, dict[int, float]()  # processor time at each line of the metrics
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid, "VmHWM"))
            lines = metrics.read_text(encoding="utf-8").count('"step"') if metrics.exists() else 0
            ends.setdefault(lines, tree_cpu_seconds(process.pid))
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{run.name} ended with {process.returncode}:\n{text[-2000:]}")
    times = [ends[line] for line in range(1, STEPS + 1)]
    return peak, statistics.median(b - a for a, b in pairwise(times))


def as_table(results: Sequence[Compared]) -> str:
    """A Markdown table."""
    head = [
        "run", "parameters", "planned, GiB", "measured, GiB", "difference", "planned, s",
        "measured, s", "ratio",
    ]  # fmt: skip
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *(result.cells() for result in results)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


if __name__ == "__main__":
    main()
