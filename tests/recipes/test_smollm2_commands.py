"""The commands in recipes/smollm2-135m/README.md as they are written, on a tiny model."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rlhf.evaluation.core.results import find, read_results
from rlhf.recipes.shipped import copy_recipe
from tests.tiny_models import make_model

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
# The tiny model has positions for 256 tokens, and its tokens are short.
SMALL = {
    "max_steps": 2,
    "max_length": 240,
    "max_completion_length": 6,
    "rollout_batch_size": 16,
    "critic_warmup_steps": 1,
    "num_eval_prompts": 4,
    "num_samples": 2,
    "sample_max_new_tokens": 6,
    "max_prompts": 4,
}
OTHER_NUMBERS = {"--max_new_tokens 768": "--max_new_tokens 6", "prompts.py runs/instructions":
                 "prompts.py runs/instructions --train 64 --heldout 8"}  # fmt: skip
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """A copy of the recipe that names the tiny model and takes two steps, and its data."""
    copy_recipe("smollm2-135m", tmp_path)
    model = make_model(tmp_path / "SmolLM2-135M-Instruct")
    for path in (tmp_path / "recipes" / "smollm2-135m").glob("*.yaml"):
        keys = yaml.safe_load(path.read_text().replace(HUB_ID, str(model)))
        path.write_text(yaml.safe_dump(smaller(keys)))
    with gzip.open(tmp_path / "hh-helpful-base.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in transcripts())
    return tmp_path


def smaller(keys):
    """The keys with the numbers of SMALL, those of a method too."""
    return {
        name: smaller(value) if isinstance(value, dict) else SMALL.get(name, value)
        for name, value in keys.items()
    }


def transcripts():
    for number in range(60):
        start = f"\n\nHuman: Where is box {number}?\n\nAssistant: "
        yield {"chosen": start + "In the house.", "rejected": start + "No."}


def run(folder, block):
    """Run a block of the page in `folder`, in a shell that stops at the first failure."""
    for number, small in OTHER_NUMBERS.items():
        block = block.replace(number, small)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            block.replace(HUB_ID, str(folder / "SmolLM2-135M-Instruct")),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_commands_of_the_page_run_one_after_the_other(folder):
    page = (folder / "recipes" / "smollm2-135m" / "README.md").read_text()
    labels, comparison, instructions, probes = BLOCK.findall(page)

    run(folder, labels)
    results = read_results(folder / "runs" / "smollm2-135m" / "evaluation")
    of_judge = {"judge": "reward_model", "judge_source": "judge"}
    assert 0 <= find(results, "win_rate", "ppo", **of_judge).value <= 1
    assert (folder / "runs" / "smollm2-135m" / "dpo" / "manifest.json").exists()

    assert "in total 27 runs" in run(folder, comparison)

    # The page takes IFEval's prompts; the checks of ours need no package.
    first, *rest = instructions.splitlines()
    run(folder, first)
    shutil.copy(folder / "runs" / "instructions" / "heldout.jsonl", folder / "ifeval.jsonl")
    table = run(folder, "\n".join(rest))
    assert "| before | own | " in table
    assert "| after | own | " in table

    run(folder, probes)
    results = read_results(folder / "runs" / "smollm2-135m" / "probes")
    for model in ("before", "ppo", "grpo"):
        recalled = find(results, "score", model, judge="gold", subset="recall")
        assert 0 <= recalled.value <= 1
