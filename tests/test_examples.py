"""Every script in examples/ runs, with output in a temporary folder."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
FAST = ["collect_labels"]
# Scripts whose argument names the output, which is below runs/examples by default.
WITH_OUTPUT = [
    "align_with_a_python_reward",
    "collect_labels",
    "reward_model_from_a_dataframe",
]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in FAST else pytest.mark.slow)
        for path in EXAMPLES
    ],
)
def test_example_runs(script, root, tmp_path):
    output = [str(tmp_path / "output")] if script.stem in WITH_OUTPUT else []
    command = [sys.executable, str(script), *output]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
