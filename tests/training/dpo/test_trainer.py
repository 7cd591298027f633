"""`DPOTrainer` as a library class and as a command: weights, saving, LoRA, kill and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.data.config import DataOptions
from rlhf.manifest import read_manifest
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.recipes import dpo
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.trainer import DPOTrainer
from tests.errors import raises
from tests.training.tiny_runs import assert_same_weights, rankings

ROWS = [
    {"prompt": row.prompt, "responses": list(row.responses), "ranks": list(row.ranks)}
    for row in rankings(16)
]
KEYS = {"max_steps": 3, "learning_rate": 1e-3, "per_device_train_batch_size": 2,
        "logging_steps": 1, "num_samples": 2, "sample_max_new_tokens": 4}  # fmt: skip
OPTIONS = DataOptions(max_length=64, eval_fraction=0.3)


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def trainer(llama, rows=ROWS, **arguments):
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    return DPOTrainer(model, rows, config=DPOConfig(**KEYS), data_config=OPTIONS, **arguments)


def words_of(llama, rows_file, folder, **extra):
    """The command line of the recipe."""
    keys = {**KEYS, "output_dir": folder, "model_name_or_path": llama, "bf16": False,
            "train_data": rows_file, "max_length": 64, "eval_fraction": 0.3, **extra}  # fmt: skip
    return [f"--{key}={value}" for key, value in keys.items()]


def test_trainer_gives_the_weights_of_the_recipe(llama, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["dpo.py", *words_of(llama, rows_file, tmp_path / "recipe")])
    dpo.main()
    one = trainer(llama, rows_file, output_dir=tmp_path / "class")
    result = one.train()
    one.save()
    assert_same_weights(
        load_policy(tmp_path / "recipe"), load_policy(tmp_path / "class"), rtol=0, atol=0
    )
    names = {path.name for path in (tmp_path / "recipe").iterdir()} - {"report.html"}
    assert {path.name for path in (tmp_path / "class").iterdir()} == names
    assert result.steps == 3
    assert result.before.accuracy == 0.5
    assert [line["step"] for line in result.metrics if "loss" in line] == [1, 2, 3]
    assert "DPOResult(optimizer steps: 3, held-out accuracy: " in repr(result)
    page = (tmp_path / "recipe" / "report.html").read_text()
    assert "log-prob of held-out responses" in page
    assert "reward margin of pairs" in page


def test_dry_run_prints_pairs_memory_and_time(llama, rows_file, tmp_path, monkeypatch, capsys):
    words = words_of(llama, rows_file, tmp_path / "run", dry_run=True)
    monkeypatch.setattr("sys.argv", ["dpo.py", *words])
    dpo.main()
    printed = capsys.readouterr().out
    for word in ("pairs of responses to train on", "update", "moments", "fits"):
        assert word in printed
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_saved_folder_loads_with_plain_transformers(llama, tmp_path):
    one = trainer(llama)
    one.train()
    folder = one.save(tmp_path / "saved")
    assert_same_weights(
        AutoModelForCausalLM.from_pretrained(folder), one._run.model.cpu(), rtol=0, atol=0
    )
    assert AutoTokenizer.from_pretrained(folder).chat_template
    manifest = read_manifest(folder)
    assert (manifest.stage, manifest.base_model) == ("dpo", str(llama))
    assert [use.path for use in manifest.data] == ["rows", "rows"]
    assert "held-out accuracy" in (folder / "README.md").read_text()
    assert len(one.generate(["Where?", "Who?"], max_new_tokens=3)) == 2


def test_tied_rankings_are_left_out_and_counted(llama):
    rows = [*ROWS, {"prompt": "Same?", "responses": ["a", "b"], "ranks": [1, 1]}]
    one = trainer(llama, rows)
    assert sum(use.dropped for use in one.setup.rows.uses) == 1
    assert any("pairs of responses to train on" in note for note in one.setup.notes)


def test_lora_leaves_the_base_and_is_saved_as_an_adapter(llama, tmp_path):
    """Without its adapter the trained model is the base: nothing else moved."""
    model = ModelConfig(model_name_or_path=str(llama), bf16=False, use_peft=True, lora_r=2)
    one = DPOTrainer(model, ROWS, config=DPOConfig(**KEYS), data_config=OPTIONS)
    result = one.train()
    assert result.before.loss == pytest.approx(0.6931, abs=1e-4)
    folder = one.save(tmp_path / "saved")
    assert (folder / "adapter_config.json").is_file()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        trained, loaded = one._run.model.eval()(ids).logits, load_policy(folder).eval()(ids).logits
        with one._run.model.disable_adapter():
            below = one._run.model(ids).logits
        base = load_policy(llama).eval()(ids).logits
    torch.testing.assert_close(trained, loaded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(below, base, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(trained, base, rtol=1e-4, atol=1e-4)


def test_resumed_trainer_takes_the_same_steps(llama, tmp_path):
    keys = KEYS | {"save_steps": 2, "save_total_limit": 5}
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    whole = DPOTrainer(model, ROWS, config=DPOConfig(**keys), output_dir=tmp_path / "run")
    whole.train()
    again = DPOTrainer(
        model, ROWS, config=DPOConfig(**keys), output_dir=tmp_path / "again",
        resume_from_checkpoint=tmp_path / "run" / "checkpoint-2",
    )  # fmt: skip
    again.train()
    assert_same_weights(whole._run.model, again._run.model, rtol=0, atol=0)


def test_mistakes_are_found_before_the_model_is_loaded(llama, tmp_path):
    with raises("missing-key", "train_data"):
        DPOTrainer(str(llama))
    with raises("bad-row", "rows:1"):
        DPOTrainer(str(llama), [{"prompt": "Hi", "completion": "x"}])
    with raises("no-rows"):
        DPOTrainer(str(llama), [{"prompt": "Hi", "responses": ["a", "b"], "ranks": [1, 1]}])
    with raises("key-conflict", "margin_coef"):
        DPOTrainer(str(llama), ROWS, config=DPOConfig(margin_coef=0.5))
    with raises("not-trained", "save"):
        trainer(llama).save(tmp_path / "saved")
    with raises("key-conflict", "early_stopping_patience"):
        DPOTrainer(
            str(llama), ROWS, config=DPOConfig(early_stopping_patience=1),
            data_config=DataOptions(eval_fraction=0.0),
        )  # fmt: skip


def test_interrupted_run_saves_the_weights_of_its_last_step(llama, tmp_path):
    one = trainer(llama)

    def interrupt(step):
        one._run.steps = step
        if step == 2:
            raise KeyboardInterrupt

    one._run.count = interrupt
    with pytest.raises(KeyboardInterrupt):
        one.train()
    folder = one.save(tmp_path / "saved")
    assert "interrupted after step 2" in (folder / "README.md").read_text()
    assert read_manifest(folder).stage == "dpo"
    with raises("run-exists", "DPOTrainer", "resume_from_checkpoint=True"):
        one.train()


def run_command(root, *words):
    """`rlhf dpo` in a process of its own."""
    command = [sys.executable, "-m", "rlhf", "dpo", *map(str, words)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_killed_run_resumes_to_the_weights_of_a_whole_one(llama, rows_file, tmp_path, root):
    """SIGKILL after the first checkpoint, somewhere in a later step."""
    keys = {"max_steps": 60, "save_steps": 5, "num_samples": 0, "cpu_threads": 1}
    whole = words_of(llama, rows_file, tmp_path / "whole", **keys)
    assert run_command(root, *whole).returncode == 0
    killed = words_of(llama, rows_file, tmp_path / "killed", **keys)
    process = subprocess.Popen(
        [sys.executable, str(root / "recipes" / "dpo.py"), *killed],
        cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoint-*/hashes.json")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    done = run_command(root, *killed, "--resume_from_checkpoint=latest")
    assert done.returncode == 0, done.stderr
    assert "resumes from" in done.stdout
    same_files(tmp_path / "whole", tmp_path / "killed")


def same_files(one: Path, other: Path) -> None:
    """Both runs have the same weights, bit for bit."""
    assert_same_weights(load_policy(one), load_policy(other), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(llama, rows_file, tmp_path, root):
    """One process with batches of 4, or two with 2 each; metrics of all pairs of the batch."""
    keys = {"num_samples": 2, "max_steps": 4, "cpu_threads": 1}
    one = words_of(
        llama, rows_file, tmp_path / "one", per_device_train_batch_size=4, **keys
    )  # fmt: skip
    two = words_of(llama, rows_file, tmp_path / "two", **keys)
    assert run_command(root, *one).returncode == 0
    done = run_command(root, "--num_processes", "2", *two)
    assert done.returncode == 0, done.stderr
    assert_same_weights(
        load_policy(tmp_path / "one"), load_policy(tmp_path / "two"), rtol=1e-4, atol=1e-6
    )
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for ours, theirs in zip(*lines, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"time"}:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-4), name
