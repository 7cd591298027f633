"""A plain launch starts its worker without accelerate, in the same environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf.runtime.one_worker import Recipe, plain_launch

PRINT = "import json, os, sys; print(json.dumps([dict(os.environ), os.getsid(0) == os.getpid()]))"
# A port of the machine, torchrun's own files and store, and Python's own notes.
DIFFERS = {"MASTER_PORT", "TORCHELASTIC_ERROR_FILE", "TORCHELASTIC_USE_AGENT_STORE"}


@pytest.fixture
def script(tmp_path: Path, root: Path, monkeypatch) -> Path:
    """A script that prints its environment, in a folder with the packaged configuration."""
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "accelerate_config.yaml").write_text(config)
    (tmp_path / "script.py").write_text(PRINT)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "script.py"


def _environment(*words: str) -> tuple[dict[str, str], bool]:
    """The worker's environment, and whether it leads a session."""
    unset = ("OMP_NUM_THREADS", "PET_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
    command = [sys.executable, "-m", "rlhf.runtime.agent", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    variables, leads = json.loads(done.stdout)
    return variables, leads


def test_environment_is_that_of_accelerate_and_torchrun(script):
    plain = _environment("--num_processes=1", str(script))
    with_option = _environment("--num_processes=1", "--num_machines=1", str(script))
    assert plain_launch(["--num_processes=1", "--num_machines=1", str(script)]) is None
    assert _without(plain[0]) == _without(with_option[0])
    assert plain[1] == with_option[1] is True
    assert plain[0]["MASTER_PORT"].isdigit()


def _without(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in DIFFERS}


@pytest.mark.parametrize("count", [["--num_processes=1"], ["--num_processes", "1"], []])
def test_one_process_with_the_packaged_configuration_is_plain(script, count):
    words = [*count, str(script), "--seed", "1"]
    assert plain_launch(words) == Recipe(str(script), False, ["--seed", "1"])
    assert plain_launch([*count, "-m", "a.b"]) == Recipe("a.b", True, [])


@pytest.mark.parametrize(
    "options", [["--num_processes=2"], ["--config_file=x.yaml"], ["--cpu"], ["--num_processes"]]
)
def test_other_options_are_left_to_accelerate(script, options):
    assert plain_launch([*options, str(script)]) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("num_processes: 1", "num_processes: 2"),
        ("mixed_precision: 'no'", "mixed_precision: bf16"),
        ("MULTI_GPU", "FSDP"),
        ("use_cpu: false", "use_cpu: false\ndebug: true"),
        ("use_cpu: false", "use_cpu: ["),
    ],
)
def test_other_configuration_is_left_to_accelerate(script, before, after):
    config = script.with_name("accelerate_config.yaml")
    config.write_text(config.read_text().replace(before, after))
    assert plain_launch([str(script)]) is None


def test_number_on_the_command_line_overrides_the_configuration(script):
    config = script.with_name("accelerate_config.yaml")
    config.write_text(config.read_text().replace("num_processes: 1", "num_processes: 2"))
    assert plain_launch(["--num_processes=1", str(script)]) is not None
