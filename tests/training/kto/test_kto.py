"""KTO runs: the first loss, TRL's loss, exact resume, batching, learning, saving, two processes."""

import json
import subprocess
import sys

import pytest
import torch
from datasets import Dataset
from trl import KTOConfig as TRLConfig
from trl import KTOTrainer as TRLTrainer

from rlhf.data.config import DataOptions
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import read_manifest
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.models.response_logprobs import ResponseLogprobs
from rlhf.recipes import kto
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.kto.config import KTOConfig
from rlhf.training.kto.objective import KTOObjective
from rlhf.training.kto.setup import KTOSetup
from rlhf.training.kto.trainer import KTOTrainer
from rlhf.training.sft.trl_trainer import own_accelerate_state
from rlhf.types import Thumb
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.tiny_runs import assert_same_weights, metrics_of, rankings, setup_of

SETTINGS = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "logging_steps": 1}
OPTIONS = DataOptions(max_length=64, eval_fraction=0.3)
KEYS = SETTINGS | {"max_steps": 3, "num_samples": 2, "sample_max_new_tokens": 4}


def thumbs(count, seed=0):
    """Responses that are good if they have more words `cat` than another one to the prompt."""
    return [
        Thumb(prompt=row.prompt, completion=text, desirable=rank == min(row.ranks))
        for row in rankings(count, seed, responses=2)
        for text, rank in zip(row.responses, row.ranks, strict=True)
    ]


def as_row(thumb):
    return {"prompt": thumb.prompt, "completion": thumb.completion, "label": thumb.desirable}


ROWS = [as_row(thumb) for thumb in thumbs(16)]


def kto_setup(path, folder, rows, *, held_out=(), seed=0, chat=None, **keys):
    config = KTOConfig(**(SETTINGS | keys))
    return setup_of(
        KTOSetup, path, folder, config, train=rows, held_out=held_out, seed=seed, chat=chat
    )


def train_kto(path, folder, rows, *, resume=None, **keys):
    """Train; the model and the lines of metrics.jsonl."""
    setup = kto_setup(path, folder, rows, **keys)
    folder.mkdir(exist_ok=True)
    model = load_policy(path)
    objective = KTOObjective(ResponseLogprobs(model, bf16=False), setup)
    loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
    run_loop(loop, resume=resume, on_step=lambda step: None)
    return model, metrics_of(folder)


def test_first_loss_is_one_half(llama, tmp_path):
    """Log-ratios and the reference point are 0: 1 - σ(0) for both kinds."""
    _, lines = train_kto(
        llama, tmp_path / "run", thumbs(4), held_out=thumbs(3, seed=1), max_steps=1
    )
    assert lines[0]["eval_loss"] == pytest.approx(0.5, abs=1e-5)
    assert lines[0]["eval_accuracy"] == 0.5
    assert lines[1]["loss"] == pytest.approx(0.5, abs=1e-5)
    assert lines[1]["kl"] == pytest.approx(0, abs=1e-4)


def test_resumed_equals_uninterrupted(llama, tmp_path):
    keys = {"max_steps": 8, "save_steps": 4, "save_total_limit": 5, "logging_steps": 3}
    whole, lines = train_kto(llama, tmp_path / "run", thumbs(12), **keys)
    again, later = train_kto(
        llama, tmp_path / "again", thumbs(12),
        resume=tmp_path / "run" / "checkpoint-4", **keys,
    )  # fmt: skip
    assert_same_weights(whole, again, rtol=0, atol=0)
    assert [(x["loss"], x["kl"]) for x in later] == [
        (x["loss"], x["kl"]) for x in lines if x["step"] > 4
    ]


@pytest.mark.parametrize("changed", [{"beta": 0.2}, {"seed": 1}])
def test_checkpoint_of_another_run_is_rejected(llama, tmp_path, changed):
    train_kto(llama, tmp_path / "run", thumbs(12), max_steps=2)
    resume = tmp_path / "run" / "checkpoint-2"
    with raises("other-run", *changed):
        train_kto(llama, tmp_path / "again", thumbs(12), resume=resume, max_steps=2, **changed)


def test_accumulation_does_not_change_weights(llama, tmp_path):
    """The reference point is that of the global batch, not of a microbatch."""
    keys = {"max_steps": 4, "learning_rate": 5e-3}
    one, _ = train_kto(llama, tmp_path / "a", thumbs(8), **keys)
    four, _ = train_kto(
        llama, tmp_path / "b", thumbs(8),
        per_device_train_batch_size=1, gradient_accumulation_steps=4, **keys,
    )  # fmt: skip
    assert_same_weights(one, four, rtol=1e-3, atol=1e-5)


def test_held_out_accuracy_rises(llama, tmp_path):
    _, lines = train_kto(
        llama, tmp_path / "run", thumbs(100), held_out=thumbs(40, seed=1), max_steps=60,
        per_device_train_batch_size=16, learning_rate=3e-3, eval_steps=60,
    )  # fmt: skip
    first, *_, last = (line for line in lines if "eval_accuracy" in line)
    assert first["eval_accuracy"] == 0.5
    assert last["eval_accuracy"] > 0.75
    assert last["eval_reward_margin"] > 0.5
    assert last["eval_loss"] < 0.45
    assert last["eval_kl"] >= 0


def test_loss_of_a_batch_equals_trl(tmp_path):
    """The same rows, mismatched responses and moved weights; TRL's own loss and KL."""
    base = make_model(tmp_path / "base", "gpt_neox")
    chat = load_tokenizer(str(base), "none")
    rows = [
        Thumb(prompt="Where is the ball?", completion=" In the box.", desirable=True),
        Thumb(prompt="Who is in the sea?", completion=" A dog and a cat.", desirable=False),
        Thumb(prompt="Hi", completion=" Tell me a story.", desirable=True),
    ]
    setup = kto_setup(
        base, tmp_path / "run", rows, chat=chat, desirable_weight=1.0, undesirable_weight=2.0
    )
    objective = KTOObjective(ResponseLogprobs(load_policy(base), bf16=False), setup)
    args = TRLConfig(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=3, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, beta=0.1,
        desirable_weight=1.0, undesirable_weight=2.0,
    )  # fmt: skip
    with own_accelerate_state():
        theirs = TRLTrainer(
            model=load_policy(base), ref_model=load_policy(base), args=args,
            train_dataset=Dataset.from_list([as_row(row) for row in rows]),
            processing_class=chat.tokenizer,
        )  # fmt: skip
        for model in (theirs.model, objective.model):
            with torch.no_grad():
                for index, parameter in enumerate(model.parameters()):
                    draw = torch.Generator().manual_seed(index)
                    parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
        theirs.model.eval()
        batch = dict(next(iter(theirs.get_train_dataloader())))
        batch |= _mismatched(objective, batch)
        expected = theirs.compute_loss(theirs.model, batch)
    objective.start_step(objective.rows)
    ours = objective.loss(objective.module, objective.rows)
    assert objective.kl == pytest.approx(theirs._metrics["eval"]["kl"][-1], abs=1e-3)
    torch.testing.assert_close(ours.loss / len(rows), expected, rtol=1e-4, atol=1e-5)


def _mismatched(objective, batch):
    """Our mismatched rows as TRL's columns, in the order of its batch."""
    of_prompt = {row.response: row.mismatched for row in objective.rows}
    rows = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        own = tuple(ids[mask.bool()].tolist())
        [match] = [m for r, m in of_prompt.items() if (*r.prompt_ids, *r.response_ids) == own]
        rows.append(match)
    width = max(row.length for row in rows)
    columns = {"KL_input_ids": [], "KL_attention_mask": [], "KL_completion_mask": []}
    for row in rows:
        padding = [0] * (width - row.length)
        ids = [*row.prompt_ids, *row.response_ids]
        columns["KL_input_ids"].append(ids + padding)
        columns["KL_attention_mask"].append([1] * row.length + padding)
        mask = [0] * len(row.prompt_ids) + [1] * len(row.response_ids)
        columns["KL_completion_mask"].append(mask + padding)
    return {name: torch.tensor(values) for name, values in columns.items()}


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def words_of(llama, rows_file, folder, **extra):
    keys = {**KEYS, "output_dir": folder, "model_name_or_path": llama, "bf16": False,
            "train_data": rows_file, "max_length": 64, "eval_fraction": 0.3, **extra}  # fmt: skip
    return [f"--{key}={value}" for key, value in keys.items()]


def test_trainer_gives_the_weights_of_the_recipe(llama, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["kto.py", *words_of(llama, rows_file, tmp_path / "recipe")])
    kto.main()
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    one = KTOTrainer(
        model, ROWS, config=KTOConfig(**KEYS), data_config=OPTIONS, output_dir=tmp_path / "class"
    )
    result = one.train()
    folder = one.save()
    assert_same_weights(load_policy(tmp_path / "recipe"), load_policy(folder), rtol=0, atol=0)
    assert read_manifest(folder).stage == "kto"
    assert result.before.accuracy == 0.5
    assert "KTOResult(optimizer steps: 3" in repr(result)
    assert len(one.generate(["Where?"], max_new_tokens=3)) == 1
    page = (tmp_path / "recipe" / "report.html").read_text()
    assert "implicit reward of thumbs" in page


def test_rows_of_one_kind_are_rejected(llama):
    rows = [row | {"label": True} for row in ROWS]
    with raises("no-rows", "thumbs up"):
        KTOTrainer(str(llama), rows, data_config=OPTIONS)
    config = KTOConfig(desirable_weight=1.0, undesirable_weight=1.0)
    assert KTOTrainer(str(llama), rows, config=config, data_config=OPTIONS)


def test_dry_run_counts_thumbs(llama, rows_file, tmp_path, monkeypatch, capsys):
    words = words_of(llama, rows_file, tmp_path / "run", dry_run=True)
    monkeypatch.setattr("sys.argv", ["kto.py", *words])
    kto.main()
    printed = capsys.readouterr().out
    assert "thumbs up of weight" in printed
    assert "fits" in printed


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(llama, rows_file, tmp_path, root):
    keys = {"num_samples": 0, "max_steps": 4, "cpu_threads": 1, "learning_rate": 3e-3}
    one = words_of(llama, rows_file, tmp_path / "one", per_device_train_batch_size=8, **keys)
    two = words_of(llama, rows_file, tmp_path / "two", **keys)
    for options, words in ((["--num_processes", "1"], one), (["--num_processes", "2"], two)):
        command = [sys.executable, "-m", "rlhf", "kto", *options, *words]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert_same_weights(
        load_policy(tmp_path / "one"), load_policy(tmp_path / "two"), rtol=1e-3, atol=1e-5
    )
