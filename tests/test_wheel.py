"""The wheel in an environment of its own, away from the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # it builds the wheel; the pipeline takes minutes


@pytest.fixture(scope="module")
def bin_folder(root: Path, tmp_path_factory) -> Path:
    """`bin` of an environment with the wheel, which sees the other packages of this one."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(root)], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment)
    # A path in a .pth file is searched after the environment's own packages, and .pth files in it
    # (that of an editable rlhf) are not read.
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    return environment / "bin"


def rlhf(bin_folder: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(bin_folder / "rlhf"), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_installed_recipe_runs_to_its_end(bin_folder: Path, tmp_path: Path):
    run = rlhf(bin_folder, "recipes", "copy", "pocket", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "data/pocket/model/model.safetensors").is_file()
    run = rlhf(bin_folder, "align", "--config", "recipes/pocket/align-short.yaml", cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (tmp_path / "runs/ci/evaluation/evaluation.json").is_file()
    assert (tmp_path / "runs/ci/report.html").is_file()


def test_installed_package_lists_every_recipe(bin_folder: Path, root: Path, tmp_path: Path):
    run = rlhf(bin_folder, "recipes", "list", cwd=tmp_path)
    names = [line.split()[0] for line in run.stdout.splitlines()]
    assert names == sorted(path.name for path in (root / "recipes").iterdir() if path.is_dir())
    for name in names:
        assert rlhf(bin_folder, "recipes", "copy", name, name, cwd=tmp_path).returncode == 0


def test_installed_recipe_exits_with_its_own_status(bin_folder: Path, tmp_path: Path):
    words = ["--num_processes", "2", "--output_dir", "run", "--train_data", "no.jsonl"]
    run = rlhf(bin_folder, "sft", "--model_name_or_path", "no-model", *words, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count("no-model") == 1
    assert "Traceback" not in run.stderr
