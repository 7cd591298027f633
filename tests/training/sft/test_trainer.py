"""`SFTTrainer` as a library class: the same weights as the recipe, rows in memory, saving."""

import gc
import json
import logging
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.data.config import DataOptions
from rlhf.errors import ConfigError
from rlhf.manifest import read_manifest
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.recipes import sft
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.training.tiny_runs import assert_same_weights

ROWS = [
    {"prompt": f"Where is the {thing}?", "completion": f"The {thing} is in the {place}."}
    for thing in ("ball", "cat", "dog", "bird", "box", "sea")
    for place in ("box", "sea")
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
    return SFTTrainer(model, rows, config=SFTConfig(**KEYS), data_config=OPTIONS, **arguments)


def test_trainer_gives_the_weights_of_the_recipe(llama, rows_file, tmp_path, monkeypatch):
    words = [f"--{key}={value}" for key, value in KEYS.items()]
    words += [
        f"--output_dir={tmp_path / 'recipe'}",
        f"--model_name_or_path={llama}",
    ]
    words += ["--bf16=false", f"--train_data={rows_file}", "--max_length=64", "--eval_fraction=0.3"]
    monkeypatch.setattr("sys.argv", ["sft.py", *words])
    sft.main()
    one = trainer(llama, rows_file, output_dir=tmp_path / "class")
    result = one.train()
    one.save()
    assert_same_weights(
        load_policy(tmp_path / "recipe"), load_policy(tmp_path / "class"), rtol=0, atol=0
    )
    names = {path.name for path in (tmp_path / "recipe").iterdir()} - {"report.html"}
    assert {path.name for path in (tmp_path / "class").iterdir()} == names
    assert result.steps == 3
    assert result.eval_loss_after < result.eval_loss_before
    assert [line["step"] for line in result.metrics if "loss" in line] == [1, 2, 3]


def test_rows_in_memory_give_the_weights_of_the_file(llama, rows_file):
    of_file, of_list = trainer(llama, rows_file), trainer(llama, ROWS)
    assert of_file.setup.rows.train == of_list.setup.rows.train
    assert of_file.setup.rows.held_out == of_list.setup.rows.held_out
    of_file.train()
    of_list.train()
    assert_same_weights(of_file._model, of_list._model, rtol=0, atol=0)


def test_saved_folder_loads_with_plain_transformers(llama, tmp_path):
    one = trainer(llama)
    one.train()
    folder = one.save(tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert_same_weights(plain, one._model.cpu(), rtol=0, atol=0)
    assert AutoTokenizer.from_pretrained(folder).chat_template
    manifest = read_manifest(folder)
    assert (manifest.stage, manifest.base_model) == ("sft", str(llama))
    assert [use.path for use in manifest.data] == ["rows", "rows"]
    assert (folder / "README.md").is_file()
    assert not (folder / "samples").exists()


def test_lora_is_saved_as_an_adapter_that_loads(llama, tmp_path):
    model = ModelConfig(model_name_or_path=str(llama), bf16=False, use_peft=True, lora_r=2)
    one = SFTTrainer(model, ROWS, config=SFTConfig(**KEYS))
    one.train()
    folder = one.save(tmp_path / "saved")
    assert (folder / "adapter_config.json").is_file()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        trained, loaded = one._model.eval()(ids).logits, load_policy(folder).eval()(ids).logits
    torch.testing.assert_close(trained, loaded, rtol=1e-4, atol=1e-4)


def test_adapter_on_adapter_is_saved_with_its_merged_base(llama, tmp_path):
    """The temporary run folder, with the merged base in it, is deleted with the trainer."""
    lora = {"bf16": False, "use_peft": True, "lora_r": 2}
    first = SFTTrainer(ModelConfig(model_name_or_path=str(llama), **lora), ROWS,
                       config=SFTConfig(**KEYS))  # fmt: skip
    first.train()
    below = first.save(tmp_path / "first")
    second = SFTTrainer(ModelConfig(model_name_or_path=str(below), **lora), ROWS,
                        config=SFTConfig(**KEYS))  # fmt: skip
    second.train()
    folder, ids = second.save(tmp_path / "second"), torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        trained = second._model.eval()(ids).logits
    del second
    gc.collect()
    with torch.no_grad():
        torch.testing.assert_close(
            load_policy(folder).eval()(ids).logits, trained, rtol=1e-4, atol=1e-4
        )


def test_temporary_folder_lives_as_long_as_the_trainer(llama):
    one = trainer(llama)
    folder = one.setup.folder
    assert folder.is_dir()
    one.train()
    assert len(one.metrics) == len(one.result.metrics) > 0
    del one
    gc.collect()
    assert not folder.exists()


def test_generate_samples_before_and_after_training(llama):
    one = trainer(llama)
    before = one.generate(["Where?", "Who?"], max_new_tokens=5, temperature=0)
    one.train()
    after = one.generate(["Where?", "Who?"], max_new_tokens=5, temperature=0)
    assert [type(text) for text in before + after] == [str] * 4
    assert one.generate(["Where?", "Who?"], max_new_tokens=5, temperature=0) == after


def test_resumed_trainer_takes_the_same_steps(llama, tmp_path):
    keys = KEYS | {"save_steps": 2, "save_total_limit": 5}
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    whole = SFTTrainer(model, ROWS, config=SFTConfig(**keys), output_dir=tmp_path / "run")
    whole.train()
    again = SFTTrainer(
        model, ROWS, config=SFTConfig(**keys), output_dir=tmp_path / "again",
        resume_from_checkpoint=tmp_path / "run" / "checkpoint-2",
    )  # fmt: skip
    again.train()
    assert_same_weights(whole._model, again._model, rtol=0, atol=0)


def test_mistakes_are_found_before_the_model_is_loaded(llama, tmp_path):
    with raises("missing-key", "train_data"):
        SFTTrainer(str(llama))
    with raises("bad-row", "rows:1"):
        SFTTrainer(str(llama), [{"question": "Hi"}])
    with raises("not-trained", "save"):
        trainer(llama).save(tmp_path / "saved")
    trainer(llama, output_dir=tmp_path / "run").train()
    with pytest.raises(ConfigError):
        trainer(llama, output_dir=tmp_path / "run")


def test_resuming_a_finished_run_trains_no_further_step(llama, tmp_path):
    """Two steps are not a whole epoch here, in whose rest transformers would take a third."""
    keys = KEYS | {
        "max_steps": 2,
        "save_steps": 2,
        "per_device_train_batch_size": 1,
        "packing": False,
        "lr_scheduler_type": "constant",
    }
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    first = SFTTrainer(model, ROWS, config=SFTConfig(**keys), output_dir=tmp_path)
    first.train()
    again = SFTTrainer(
        model, ROWS, config=SFTConfig(**keys), output_dir=tmp_path, resume_from_checkpoint="latest"
    )
    assert again.train().steps == 2
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert_same_weights(first._model, again._model, rtol=0, atol=0)


def test_interrupted_run_saves_the_weights_of_its_last_step(llama, tmp_path):
    keys = KEYS | {"lr_scheduler_type": "constant"}
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    whole = SFTTrainer(
        model, ROWS, config=SFTConfig(**keys | {"max_steps": 2}), data_config=OPTIONS
    )
    whole.train()
    one = SFTTrainer(model, ROWS, config=SFTConfig(**keys), data_config=OPTIONS)
    with raises("not-trained", "save"):
        one.save(tmp_path / "saved")

    def interrupt(step):
        one._steps = step
        if step == 2:
            raise KeyboardInterrupt

    one._count = interrupt
    with pytest.raises(KeyboardInterrupt):
        one.train()
    folder = one.save(tmp_path / "saved")
    assert_same_weights(load_policy(folder), whole._model.cpu(), rtol=0, atol=0)
    assert "interrupted after step 2" in (folder / "README.md").read_text()
    assert read_manifest(folder).stage == "sft"
    with raises("run-exists", "SFTTrainer", "resume_from_checkpoint=True"):
        one.train()


def test_ctrl_c_does_not_interrupt_an_optimizer_step(llama, tmp_path, monkeypatch):
    """Ctrl-C within step 2 is a run of two steps."""
    keys = KEYS | {"lr_scheduler_type": "constant"}
    two = SFTTrainer(llama, ROWS, config=SFTConfig(**keys | {"max_steps": 2}), data_config=OPTIONS)
    two.train()
    one = SFTTrainer(llama, ROWS, config=SFTConfig(**keys), data_config=OPTIONS)
    steps, take = [], torch.optim.AdamW.step

    def step(optimizer, closure=None):
        steps.append(optimizer)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return take(optimizer, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        one.train()
    assert signal.getsignal(signal.SIGINT) is before
    assert one._steps == 2
    assert_same_weights(one._model.cpu(), two._model.cpu(), rtol=0, atol=0)


def test_whole_model_replaces_a_saved_adapter(llama, tmp_path):
    adapter = ModelConfig(model_name_or_path=str(llama), use_peft=True)
    folder = tmp_path / "saved"
    for model in (adapter, llama):
        one = SFTTrainer(model, ROWS, config=SFTConfig(**KEYS), data_config=OPTIONS)
        one.train()
        one.save(folder)
        for name in ("notes.txt", "embeddings.safetensors"):
            (folder / name).touch()
    names = {path.name for path in folder.iterdir()}
    assert not names & {"adapter_config.json", "adapter_model.safetensors"}
    assert {"config.json", "model.safetensors", "notes.txt", "embeddings.safetensors"} <= names


def test_logger_level_silences_a_run(llama, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("rlhf"), "level", logging.WARNING)
    one = trainer(llama)
    one.train()
    one.save(tmp_path / "saved")
    assert "step" not in capsys.readouterr().out
    monkeypatch.setattr(logging.getLogger("rlhf"), "level", logging.NOTSET)
    one.save(tmp_path / "saved")
    assert "held-out loss after" in capsys.readouterr().out


def test_repr_of_the_result_is_one_short_line(llama):
    result = trainer(llama).train()
    assert repr(result) == (
        f"SFTResult(steps=3, held-out loss {result.eval_loss_before:.3f} -> "
        f"{result.eval_loss_after:.3f}, stopped_early='')"
    )
