"""Bad input stops a recipe with status 2 before a weight is read; every bad row is named."""

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rlhf.runtime import launcher
from tests.tiny_models import make_model

# Faults for every recipe. A row with a prompt gets the other columns of the recipe's rows.
FAULTS = [
    ({"text": "x"}, "no prompt"),
    (b'{"prompt": "caf\xe9"}', "invalid UTF-8"),
    (b"{" + b" " * 9_000_000 + b"}", "MB long"),
    ({"prompt": [{"role": "assistant", "content": "x"}]}, "roles assistant"),
    ({"prompt": "word " * 300}, "is the limit"),
]
COMPLETION_FAULTS = [
    ({"completion": " "}, "completion is empty"),
    ({"completion": "word " * 300}, "is the limit"),
    ({"completion": "x", "label": False}, "a thumb"),
]
THUMB_FAULTS = [
    ({"completion": " ", "label": True}, "completion is empty"),
    ({"completion": "word " * 300, "label": True}, "is the limit"),
    ({"completion": "x", "label": "up"}, "label is neither"),
]
RANKING_FAULTS = [
    ({"chosen": "x", "rejected": "x"}, "the same text"),
    ({"responses": ["x", "y"], "ranks": [1]}, "1 ranks for 2 responses"),
    ({"responses": ["x", ""], "ranks": [1, 2]}, "is empty"),
    ({"chosen": "x", "rejected": "word " * 300}, "is the limit"),
]
ROWS = {
    "sft": ({"prompt": "Hi", "completion": "A cat."}, COMPLETION_FAULTS),
    "reward_model": ({"prompt": "Hi", "chosen": "A cat.", "rejected": "no"}, RANKING_FAULTS),
    "dpo": ({"prompt": "Hi", "chosen": "A cat.", "rejected": "no"}, RANKING_FAULTS),
    "kto": ({"prompt": "Hi", "completion": "A cat.", "label": True}, THUMB_FAULTS),
    "ppo": ({"prompt": "Hi"}, []),
    "evaluate": ({"prompt": "Hi"}, []),
    "align": ({"prompt": "Hi", "completion": "A cat."}, COMPLETION_FAULTS),
}
# The keys of each recipe; MODEL, DATA and the like are replaced by paths.
TRAINING = {"model_name_or_path": "MODEL", "train_data": "DATA"}
KEYS = {
    "sft": TRAINING,
    "reward_model": TRAINING,
    "dpo": TRAINING,
    "kto": TRAINING,
    "ppo": {**TRAINING, "reward": "REWARD", "max_steps": "1"},
    "evaluate": {"models": "MODEL", "eval_data": "DATA"},
    "align": {
        "model_name_or_path": "MODEL",
        "demonstrations": "DATA",
        "labels": "PAIRS",
        "ppo_prompts": "PROMPTS",
        "heldout_prompts": "PROMPTS",
        "ppo_keys": "max_steps=1",
    },
}
LENGTHS = {
    "sft": ["--max_length", "128"],
    "reward_model": ["--max_length", "128"],
    "dpo": ["--max_length", "128"],
    "kto": ["--max_length", "128"],
    "ppo": ["--max_prompt_length", "128"],
    "evaluate": ["--max_prompt_length", "128"],
    "align": [
        *("--sft_keys", "max_length=128"),
        *("--reward_model_keys", "max_length=128"),
    ],
}
REWARD = "def score(prompts, completions, **columns):\n    return [0.0 for _ in prompts]\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose weights cannot be read: loading them fails with another message."""
    folder = make_model(tmp_path / "model", "qwen2")
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


def write_rows(path: Path, recipe: str) -> list[str]:
    """Write a good row, then one row per fault; return the reasons in order."""
    good, own_faults = ROWS[recipe]
    rest = {key: value for key, value in good.items() if key != "prompt"}
    faults: list[tuple[object, str]] = [
        ({**rest, **row} if isinstance(row, dict) and "prompt" in row else row, reason)
        for row, reason in FAULTS
    ]
    faults += [({"prompt": "Hi", **row}, reason) for row, reason in own_faults]
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row, _ in faults]
    path.write_bytes(b"\n".join([json.dumps(good).encode(), *lines]))
    return [reason for _, reason in faults]


def words_of(recipe: str, model: Path, data: Path) -> list[str]:
    """The recipe's keys without lengths and output_dir; writes good files next to `data`."""
    folder = data.parent
    (folder / "reward.py").write_text(REWARD)
    (folder / "pairs.jsonl").write_text(json.dumps(ROWS["reward_model"][0]))
    (folder / "prompts.jsonl").write_text(json.dumps(ROWS["ppo"][0]))
    files = {
        "MODEL": model,
        "DATA": data,
        "REWARD": f"{folder / 'reward.py'}:score",
        "PAIRS": folder / "pairs.jsonl",
        "PROMPTS": folder / "prompts.jsonl",
    }
    return [
        word
        for key, value in KEYS[recipe].items()
        for word in (f"--{key}", str(files.get(value, value)))
    ]


def run_recipe(
    root: Path, recipe: str, model: Path, data: Path, output: Path, monkeypatch, *more: str
) -> int:
    """The exit status of the recipe; keys in `more` override the usual ones."""
    path = root / "recipes" / f"{recipe}.py"
    usual = {"--output_dir": [str(output)], **pairs(words_of(recipe, model, data))}
    keys = usual | pairs(LENGTHS[recipe]) | pairs(more)
    words = [word for key, values in keys.items() for word in (key, *values)]
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    return int(stop.value.code or 0)


def pairs(words: Sequence[str]) -> dict[str, list[str]]:
    """`--key value …` words by key."""
    values: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            values[word] = []
        else:
            values[list(values)[-1]].append(word)
    return values


@pytest.mark.parametrize("recipe", sorted(ROWS))
def test_every_bad_row_is_named_and_no_run_is_left(
    root: Path, tmp_path: Path, model: Path, recipe: str, monkeypatch, capsys
):
    data, output = tmp_path / "rows.jsonl", tmp_path / "run"
    reasons = write_rows(data, recipe)
    assert run_recipe(root, recipe, model, data, output, monkeypatch) == 2
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith(f"  {data}:")]
    assert [line.split()[0] for line in lines] == [f"{data}:{n + 2}" for n in range(len(reasons))]
    for line, reason in zip(lines, reasons, strict=True):
        assert reason in line
    assert f"{len(reasons)} rows cannot be used" in errors
    assert "Traceback" not in errors
    assert not (output / "config.yaml").exists()


SEVERAL = {
    "sft": (["--train_data", "--eval_data"], "sft"),
    "reward_model": (["--train_data", "--eval_data"], "reward_model"),
    "dpo": (["--train_data", "--eval_data"], "dpo"),
    "kto": (["--train_data", "--eval_data"], "kto"),
    "ppo": (["--train_data", "--eval_data"], "ppo"),
    "align": (["--demonstrations", "--ppo_prompts", "--heldout_prompts"], "sft"),
}


@pytest.mark.parametrize("recipe", SEVERAL)
def test_bad_rows_of_all_files_are_in_one_list(
    root: Path, tmp_path: Path, model: Path, recipe: str, monkeypatch, capsys
):
    """The row has no prompt, which is a fault for every use."""
    keys, rows = SEVERAL[recipe]
    files = [tmp_path / f"{key[2:]}.jsonl" for key in keys]
    for file in files:
        file.write_text(json.dumps(ROWS[rows][0]) + '\n{"text": "x"}\n')
    words = [word for key, file in zip(keys, files, strict=True) for word in (key, str(file))]
    if recipe == "reward_model":
        demonstrations = tmp_path / "demonstrations.jsonl"
        demonstrations.write_text('{"prompt": "x"}\n')
        words += ["--normalization_data", str(demonstrations)]
    assert run_recipe(root, recipe, model, files[0], tmp_path / "run", monkeypatch, *words) == 2
    errors = capsys.readouterr().err
    assert f"{len(files) + (recipe == 'reward_model')} rows cannot be used" in errors
    for file in files:
        assert f"{file}:2 " in errors
    assert recipe != "reward_model" or f"{demonstrations}:1 no completion" in errors


@pytest.mark.parametrize("recipe", sorted({*ROWS} - {"align"}))  # align starts no group itself
def test_two_processes_on_one_gpu_are_rejected(
    root: Path, tmp_path: Path, model: Path, recipe: str, monkeypatch, capsys
):
    """NCCL ends them with "Duplicate GPU". A GPU is faked, and its group would fail here."""
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROWS[recipe][0]) + "\n")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for place in ("torch.accelerator.is_available", "torch.cuda.is_available"):
        monkeypatch.setattr(place, lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert run_recipe(root, recipe, model, data, tmp_path / "run", monkeypatch) == 2
    error = capsys.readouterr().err
    assert "2 processes" in error
    assert "--num_processes 1)" in error
    assert "[bad-launch]" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", sorted(ROWS))
def test_row_beyond_the_models_positions_is_rejected(
    root: Path, tmp_path: Path, recipe: str, monkeypatch, capsys
):
    """The model has a table of 256 positions; the lengths allowed are far above."""
    model = make_model(tmp_path / "model", "gpt2")
    data, longer = tmp_path / "rows.jsonl", "word " * 300
    good, _ = ROWS[recipe]
    data.write_text(json.dumps(good) + "\n" + json.dumps({**good, "prompt": longer}))
    lengths = [word.replace("128", "4096") for word in LENGTHS[recipe]]
    assert run_recipe(root, recipe, model, data, tmp_path / "run", monkeypatch, *lengths) == 2
    errors = capsys.readouterr().err
    assert f"{data}:2 " in errors
    assert "but the model has 256 positions" in errors


def test_dropped_rows_are_listed_in_a_file(root: Path, tmp_path: Path, model: Path, monkeypatch):
    """A dry run stops before the weights."""
    data, output = tmp_path / "rows.jsonl", tmp_path / "run"
    reasons = write_rows(data, "sft")
    more = ("--drop_bad_rows", "--eval_fraction", "0", "--dry_run")
    assert run_recipe(root, "sft", model, data, output, monkeypatch, *more) == 0
    rejected = (output / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejected] == [n + 2 for n in range(len(reasons))]


def test_model_smaller_than_its_tokenizer_is_rejected(
    root: Path, tmp_path: Path, model: Path, monkeypatch, capsys
):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROWS["sft"][0]))
    assert run_recipe(root, "sft", model, data, tmp_path / "run", monkeypatch) == 2
    assert "the model has 100 embedding rows" in capsys.readouterr().err


def test_model_without_eos_is_rejected(
    root: Path, tmp_path: Path, model: Path, monkeypatch, capsys
):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(model)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**content, "eos_token_id": None}))
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROWS["sft"][0]))
    assert run_recipe(root, "sft", model, data, tmp_path / "run", monkeypatch) == 2
    assert "has no EOS token" in capsys.readouterr().err


def test_error_while_models_load_deletes_no_earlier_run(
    root: Path, tmp_path: Path, monkeypatch, capsys
):
    """A language model instead of a reward model is detected when its weights are read."""
    model, output = make_model(tmp_path / "model", "qwen2"), tmp_path / "run"
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS["ppo"][0]))
    output.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (output / name).write_text("output_dir: an earlier run's\n")
    more = ("--overwrite", "--reward", str(model), "--num_minibatches", "1", "--bf16", "false")
    data = tmp_path / "rows.jsonl"
    assert run_recipe(root, "ppo", model, data, output, monkeypatch, *more) == 2
    assert "has no reward head" in capsys.readouterr().err
    assert (output / "config.yaml").read_text() == "output_dir: an earlier run's\n"
    assert (output / "metrics.jsonl").is_file()


def test_rejected_resume_leaves_the_run_unchanged(root: Path, tmp_path: Path, monkeypatch, capsys):
    """Another seed; another base, which would be another reference."""
    model, output = make_model(tmp_path / "model", "qwen2"), tmp_path / "run"
    other = make_model(tmp_path / "other", "qwen2", seed=1)
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROWS["ppo"][0]))
    keys = "--rollout_batch_size 2 --num_minibatches 1 --num_ppo_epochs 1 --save_steps 1"
    more = [*keys.split(), *"--max_completion_length 4 --num_eval_prompts 1 --bf16 false".split()]
    assert run_recipe(root, "ppo", model, data, output, monkeypatch, *more) == 0
    before = (output / "config.yaml").read_text()
    more += ["--resume_from_checkpoint", "latest"]
    for change, reason in (
        (["--seed", "5"], "seed 0, this run has 5"),
        (["--model_name_or_path", str(other)], "the reference would be another model"),
    ):
        again = [*more, *change]
        assert run_recipe(root, "ppo", model, data, output, monkeypatch, *again) == 2
        assert reason in capsys.readouterr().err
        assert (output / "config.yaml").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a bad row", "a taken folder"])
def test_two_processes_print_an_error_once(
    root: Path, tmp_path: Path, model: Path, fault: str, capfd
):
    """Both ranks find the bad row; only rank 0 checks the folder, while the other waits."""
    data, output = tmp_path / "rows.jsonl", tmp_path / "run"
    row = {"prompt": "Hi"} if fault == "a bad row" else ROWS["sft"][0]
    data.write_text(json.dumps(row))
    if fault == "a taken folder":
        output.mkdir()
        (output / "config.yaml").write_text("output_dir: run\n")
    words = [*words_of("sft", model, data), "--output_dir", str(output)]
    assert launcher.main(["--num_processes=2", f"{root}/recipes/sft.py", *words]) == 2
    errors = capfd.readouterr().err
    assert errors.count("sft.py: ") == 1
    assert "Traceback" not in errors
