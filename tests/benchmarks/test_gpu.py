"""The GPU benchmark: its counts and tables, its driver, and every section in small on a CPU."""

import json
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import psutil
import pytest

from benchmarks.gpu import __main__ as driver
from benchmarks.gpu.page import COLUMNS, row_of, write_page
from benchmarks.gpu.recipe import result_of
from benchmarks.gpu.sections import (
    MODELS,
    SMALL_MODELS,
    SMALL_SIZES,
    Model,
    Section,
    Sizes,
    sections,
)
from benchmarks.gpu.work import decoded_bytes, trained_flops
from rlhf.models.shape import ModelShape

SHAPE = ModelShape(
    name="tiny", num_layers=1, hidden_size=2, intermediate_size=3, num_heads=1, num_kv_heads=1,
    vocab_size=5, tied=True,
)  # fmt: skip
MODEL = Model(shape=SHAPE, family="llama", seconds=9)
SIZES = Sizes(
    sft_rows=1, row_tokens=8, pairs=1, responses=2, num_generations=2, prompt_tokens=2,
    response_tokens=1, microbatch_rows=1, steps=1,
)  # fmt: skip
MACHINE = {
    "model": "tiny",
    "section": "machine",
    "stage": "machine",
    "lines": ["a machine"],
    "matmul_bf16": 3120.0,
    "matmul_fp32": 1.0,
    "read": 512.0,
    "on_gpu": True,
}
NEED_A_GPU = {
    "GRPO, CUDA graphs": "needs a CUDA GPU",
    "SFT, paged_adamw_8bit": "optim=paged_adamw_8bit",
    "GRPO, vLLM": "exit status",
    "SFT, ZeRO-3": "exit status",
}
NEED_BITSANDBYTES = {"GRPO, adamw_8bit", "SFT, QLoRA"}


def of(stage, name="a section", **keys):
    return Section(name=name, stage=stage, model=MODEL, seconds=9, keys=keys)


@pytest.mark.parametrize(
    ("stage", "flops"),
    [
        # Trunk 4 * 2 * 2 + 3 * 2 * 3 = 34 weights, output 10; attention 4 * 2 per pair.
        # Four examples of 2 tokens: 2 * 34 * 8 + 8 * 4 * 2²/2 + 2 * 10 * 4 = 688, three times.
        ("sft", 2064),
        # Two rows of 4 tokens: 2 * 34 * 8 + 8 * 2 * 4²/2 = 672, three times.
        ("reward_model", 2016),
        # Two rows of 3 tokens, one of them sampled: 2 * 34 * 6 + 8 * 2 * 3²/2 + 2 * 10 * 2 = 520.
        ("grpo", 1560),
        ("trl", 1560),
        # The critic has no logits: 480, three times.
        ("ppo", 3000),
        ("fsdp2", 780),  # half of GRPO's rows
    ],
)
def test_training_counted_by_hand(stage, flops):
    assert trained_flops(of(stage), SIZES) == flops


def test_training_of_adapters_is_not_counted():
    assert trained_flops(of("ppo", mode="lora"), SIZES) == 0
    assert trained_flops(of("sft", use_peft=True), SIZES) == 0


def test_decoding_counted_by_hand():
    """44 weights of 2 bytes; 2 rows x 2.5 earlier tokens, whose keys and values have 8 bytes."""
    assert decoded_bytes(of("grpo"), SIZES) == 88 + 40


def line(section, seconds, **others):
    measured = {"seconds": seconds, "range": [1.0, 9.0], "tokens": 8, "peak_bytes": 3 * 2**29}
    return {"model": "tiny", "section": section, "stage": "grpo", **measured, **others}


def test_row_has_shares_of_the_rates_and_the_ratio_to_trl():
    """1560 operations in 1 s are half of 3120 per second, 128 bytes in 0.5 s half of 512."""
    phases = {"seconds_rollout": 0.5, "seconds_score": 0.5, "seconds_update": 1.0}
    found = {
        ("tiny", "GRPO"): line("GRPO", 2.0, **phases),
        ("tiny", "TRL GRPO"): line("TRL GRPO", 5.0),
        ("tiny", "plan"): {"plans": {"GRPO": {"seconds": 3.0, "peak_bytes": 2**31}}},
    }
    slower = MACHINE | {"matmul_bf16": 1.0, "read": 1.0}
    cells = row_of(of("grpo", "GRPO"), SIZES, found, [slower, MACHINE])
    assert cells == [
        *("GRPO", "2", "1 to 9", "4", "2.50", "0.5", "0.5", "1", "50.0%", "50.0%", "3", "1.50"),
        "2.00",
    ]
    assert len(cells) == len(COLUMNS)
    trl = dict(zip(COLUMNS, row_of(of("trl", "TRL GRPO"), SIZES, found, [MACHINE]), strict=True))
    assert (trl["× TRL"], trl["rollout s"], trl["planned s"]) == ("1.00", "", "")


def test_page_lists_failures_and_what_did_not_begin(tmp_path):
    planned = [of("machine", "machine"), of("grpo", "GRPO"), of("sft", "SFT"), of("ppo", "PPO")]
    failed = {"model": "tiny", "section": "SFT", "stage": "sft", "error": "exit status 1: no | x"}
    write_page(tmp_path / "GPU.md", planned, SIZES, [MACHINE, line("GRPO", 2.0), failed])
    text = (tmp_path / "GPU.md").read_text()
    assert "| GRPO | 2 | 1 to 9 | 4 |" in text
    assert "| tiny | SFT | exit status 1: no \\| x |" in text
    assert "- tiny: PPO" in text
    assert "- tiny: GRPO" not in text
    assert "measured on a CPU" not in text
    write_page(tmp_path / "GPU.md", planned, SIZES, [MACHINE | {"on_gpu": False}])
    assert "measured on a CPU" in (tmp_path / "GPU.md").read_text()


def test_first_step_is_not_counted():
    """SFT: from each line to the next. PPO: the sum of the phases, and responses of 5 tokens."""
    lines = [{"time": time, "loss": 1.0} for time in (10.0, 12.0, 13.0, 17.0)]
    result = result_of([*lines, {"time": 99.0, "eval_loss": 1.0}], {"tokens": 6})
    assert (result["seconds"], result["range"], result["tokens"]) == (2.0, [1.0, 4.0], 6)
    phases = {"seconds_rollout": 1.0, "seconds_score": 0.5, "seconds_update": 0.25}
    iterations = [{**phases, "seconds_rollout": 9.0}, phases, phases]
    lines = [iteration | {"response_length": 5.0} for iteration in iterations]
    result = result_of(lines, {"responses": 2})
    assert (result["seconds"], result["seconds_rollout"], result["tokens"]) == (1.75, 1.0, 10.0)


def test_sections_differ_and_models_come_before_their_runs():
    planned = sections(MODELS, vllm="python-of-vllm")
    assert len({section.key for section in planned}) == len(planned)
    for model in MODELS:
        stages = [s.stage for s in planned if s.model == model and s.stage != "machine"]
        assert stages[0] == "inputs"
        assert {"sft", "reward_model", "ppo", "grpo", "trl"} <= set(stages)
    [server] = [section for section in planned if section.name == "GRPO, vLLM"]
    assert server.keys["rollout_python"] == "python-of-vllm"


@pytest.fixture
def python(tmp_path):
    """A function that makes an interpreter of a shell script; $3 and $4 are job and result."""

    def make(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def measure(section, folder, python, limit=60.0):
    inputs = driver.inputs_of(section, folder)
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / "prompts.jsonl").touch()
    return driver.measure(section, SIZES, folder, python=python, limit=limit)


def ended(pid):
    """Whether the process ends within seconds; one that is not waited for becomes a zombie."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_failed_section_is_recorded_with_the_end_of_its_log(tmp_path, python):
    failed = measure(of("sft"), tmp_path, python("echo loading; echo out of memory >&2; exit 3"))
    assert failed["error"] == "exit status 3: out of memory"
    assert failed["log"] == ["loading", "out of memory"]


def test_section_that_takes_too_long_is_ended_with_its_children(tmp_path, python):
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    late = measure(of("sft"), tmp_path, python(script), limit=1.0)
    assert late["error"] == "took longer than 1 s"
    assert ended(int((tmp_path / "child").read_text()))


def test_section_without_a_result_failed(tmp_path, python):
    assert measure(of("sft"), tmp_path, python("exit 0"))["error"] == "exit status 0: no output"


def test_section_without_its_model_does_not_start(tmp_path, python):
    nothing = python("echo started")
    result = driver.measure(of("sft"), SIZES, tmp_path, python=nothing, limit=60.0)
    assert "there is no model" in result["error"]


def test_measurements_and_keys_are_recorded(tmp_path, python):
    script = "echo '{\"seconds\": 2}' > $4; cp $3 " + str(tmp_path)
    result = measure(of("sft", "SFT, lora", use_peft=True), tmp_path, python(script))
    assert (result["section"], result["keys"], result["seconds"]) == (
        "SFT, lora",
        {"use_peft": True},
        2,
    )
    words = json.loads((tmp_path / "job.json").read_text())["words"]
    assert {"--use_peft=True", "--bf16=True", "--max_length=8"} <= set(words)


def test_next_call_measures_what_failed_or_did_not_begin(tmp_path):
    planned = [of("machine", "machine"), of("inputs", "inputs"), of("sft", "SFT"), of("ppo", "PPO")]
    done = [{"model": "tiny", "section": name} for name in ("inputs", "SFT")]

    def names(results, only=None):
        return [s.name for s in driver.missing(planned, results, tmp_path, only)]

    assert names([]) == ["machine", "inputs", "SFT", "PPO"]
    assert names(done) == ["machine", "inputs", "PPO"]  # the folder of inputs is not there
    assert names([done[1] | {"error": "x"}], only=["SFT"]) == ["machine", "inputs", "SFT"]
    inputs = driver.inputs_of(planned[0], tmp_path)
    inputs.mkdir(parents=True)
    (inputs / "prompts.jsonl").touch()
    assert names(done) == ["machine", "PPO"]


def test_last_line_of_a_section_counts_and_all_lines_of_the_machine(tmp_path):
    lines = [MACHINE, line("GRPO", 1.0), MACHINE, line("GRPO", 2.0)]
    (tmp_path / driver.RESULTS).write_text("".join(json.dumps(each) + "\n" for each in lines))
    results = driver.read_results(tmp_path)
    assert [each.get("seconds") for each in results] == [None, 2.0, None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "GRP"], "--only GRP: no such section; choose from machine; inputs; GRPO; "),
        (["--wheels", "nowhere"], "--wheels nowhere: no such folder"),
    ],
)
def test_wrong_option_exits_before_anything_is_written(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        driver.main(["--folder", str(tmp_path / "out"), *words])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_driver_needs_no_package(root):
    """-S leaves out the folder of installed packages."""
    command = [sys.executable, "-S", "-m", "benchmarks.gpu", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--wheels" in done.stdout


def test_wheels_are_installed_without_a_network(tmp_path, monkeypatch):
    wheels, info = tmp_path / "wheels", "carried-1.0.dist-info"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "VALUE = 7\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "requirements.txt").write_text("carried==1.0\n")
    monkeypatch.setattr(driver, "REQUIREMENTS", tmp_path / "requirements.txt")
    python = driver.install(wheels, tmp_path)
    code = "import carried; print(carried.VALUE)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


def run_small(folder, *words):
    assert driver.main(["--small", "--folder", str(folder), "--minutes", "60", *words]) == 0
    return {each["section"]: each for each in driver.read_results(folder)}


def test_a_section_runs_from_inputs_to_the_page(tmp_path):
    results = run_small(tmp_path, "--only", "SFT")
    assert list(results) == ["machine", "inputs", "SFT"]
    assert results["SFT"]["seconds"] > 0
    assert results["SFT"]["tokens"] == SMALL_SIZES.sft_rows * SMALL_SIZES.row_tokens
    assert results["inputs"]["parameters"] == SMALL_MODELS[0].shape.parameters
    assert "| SFT | " in (tmp_path / "GPU.md").read_text()


@pytest.mark.slow
def test_every_section_runs_on_a_cpu_or_names_what_it_needs(tmp_path):
    results = run_small(tmp_path)
    assert list(results) == [section.name for section in sections(SMALL_MODELS)]
    failed = {name: each["error"] for name, each in results.items() if "error" in each}
    assert set(failed) - NEED_BITSANDBYTES == set(NEED_A_GPU)
    for name, part in NEED_A_GPU.items():
        assert part in failed[name]
    sampled = SMALL_SIZES.responses * SMALL_SIZES.response_tokens
    for name, each in results.items():
        if "GRPO" in name and "error" not in each:
            assert 0.5 * sampled < each["tokens"] <= sampled
            assert each["seconds_rollout"] > 0
    plans = results["plan"]["plans"]
    assert {"SFT", "reward model", "PPO", "GRPO", "SFT, QLoRA"} <= set(plans)
    assert all(plan["seconds"] > 0 and plan["peak_bytes"] > 0 for plan in plans.values())
    sharded = results["FSDP2 on one rank"]
    assert sharded["losses"] == pytest.approx(sharded["losses_whole"], rel=1e-2)
    assert sharded["losses"][-1] < sharded["losses"][0]
    assert sharded["saved_parameters"] == SMALL_MODELS[0].shape.parameters


def test_qwen_shapes_have_the_parameters_of_their_names():
    """config.json of Qwen2.5-0.5B and 1.5B, and of SmolLM2-135M."""
    counts = [model.shape.parameters for model in MODELS]
    assert counts == [134_515_008, 494_032_768, 1_543_714_304]
    assert replace(MODELS[0].shape, tied=False).parameters == 134_515_008 + 49152 * 576
