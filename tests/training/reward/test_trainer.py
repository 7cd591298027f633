"""`RewardTrainer` as a library class: the same weights as the recipe, rows in memory, saving."""

import json
import signal

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlhf.data.config import DataOptions
from rlhf.manifest import read_manifest
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_reward_model
from rlhf.models.save import ADAPTER
from rlhf.recipes import reward_model
from rlhf.rewards.model import RewardModel
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import tokenize
from rlhf.training.reward.trainer import RewardTrainer
from tests.errors import raises
from tests.training.tiny_runs import assert_same_weights, rankings

ROWS = [
    {"prompt": row.prompt, "responses": row.responses, "ranks": row.ranks} for row in rankings(16)
]
DEMONSTRATIONS = [{"prompt": row["prompt"], "completion": row["responses"][0]} for row in ROWS]
KEYS = {"max_steps": 3, "learning_rate": 1e-3, "per_device_train_batch_size": 4,
        "logging_steps": 1, "num_samples": 2}  # fmt: skip
OPTIONS = DataOptions(max_length=64, eval_fraction=0.3)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trainer(llama, rows=ROWS, *, keys=KEYS, model_keys=None, **arguments):
    model = ModelConfig(model_name_or_path=str(llama), bf16=False, **(model_keys or {}))
    config = RewardModelConfig(**keys)
    return RewardTrainer(model, rows, config=config, data_config=OPTIONS, **arguments)


def test_trainer_gives_the_weights_of_the_recipe(llama, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    demonstrations = write_rows(tmp_path / "demonstrations.jsonl", DEMONSTRATIONS)
    words = [f"--{key}={value}" for key, value in KEYS.items()]
    words += [
        f"--output_dir={tmp_path / 'recipe'}",
        f"--model_name_or_path={llama}",
    ]
    words += ["--bf16=false", f"--train_data={rows}", "--max_length=64", "--eval_fraction=0.3"]
    monkeypatch.setattr(
        "sys.argv", ["reward_model.py", *words, f"--normalization_data={demonstrations}"]
    )
    reward_model.main()
    one = trainer(llama, rows, normalization_data=demonstrations, output_dir=tmp_path / "class")
    result = one.train()
    one.save()
    recipe, own = (load_reward_model(tmp_path / name) for name in ("recipe", "class"))
    assert_same_weights(recipe, own, rtol=0, atol=0)
    assert recipe.config.rlhf_reward_mean == own.config.rlhf_reward_mean
    assert result.normalization.mean == own.config.rlhf_reward_mean
    assert (result.steps, result.normalization.rows) == (3, len(DEMONSTRATIONS))
    assert [line["step"] for line in result.metrics if "loss" in line] == [1, 2, 3]


def test_rows_in_memory_give_the_weights_of_the_file(llama, tmp_path):
    of_file = trainer(
        llama,
        write_rows(tmp_path / "rows.jsonl", ROWS),
        normalization_data=write_rows(tmp_path / "demonstrations.jsonl", DEMONSTRATIONS),
    )
    of_list = trainer(llama, ROWS, normalization_data=DEMONSTRATIONS)
    assert of_file.train().normalization == of_list.train().normalization
    assert_same_weights(of_file._trained.model, of_list._trained.model, rtol=0, atol=0)


def test_held_out_rows_are_tokenized_once(llama, monkeypatch):
    tokenized = []

    def counting(chat, rows):
        tokenized.append(rows)
        return tokenize(chat, rows)

    monkeypatch.setattr("rlhf.training.reward.trainer.tokenize", counting)
    one = trainer(llama)
    one.train()
    assert tokenized == [one.setup.rows.train, one.setup.rows.held_out]


def test_saved_folder_loads_with_plain_transformers(llama, tmp_path):
    one = trainer(llama, normalization_data=DEMONSTRATIONS)
    one.train()
    folder = one.save(tmp_path / "saved")
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    assert_same_weights(plain, one._trained.model.cpu(), rtol=0, atol=0)
    manifest = read_manifest(folder)
    assert (manifest.stage, manifest.reward_mean) == ("reward_model", one.result.normalization.mean)
    assert (folder / "README.md").is_file()
    assert not (folder / "samples").exists()
    assert (one.save() / "samples" / "best.jsonl").is_file()
    assert repr(one.result).startswith("RewardResult(optimizer steps: 3, held-out accuracy: ")


def test_result_has_the_reason_of_early_stopping(llama):
    one = trainer(llama, keys=KEYS | {"early_stopping_patience": 1, "eval_steps": 1,
                                      "learning_rate": 0.1, "max_steps": 40})  # fmt: skip
    result = one.train()
    assert result.steps < 40
    assert result.stopped_early == "the held-out loss stopped falling"
    assert "stopped early: the held-out loss" in repr(result)


def test_train_prints_what_a_user_should_know(llama, capsys):
    """Leaked prompts and a reward without a fixed scale, in a library call as in the command."""
    trainer(llama, eval_data=ROWS[:1]).train()
    printed = capsys.readouterr().out
    assert "warning: 1 of 1 held-out rankings have prompts of the training data" in printed
    assert "warning: no normalization_data" in printed


@pytest.mark.parametrize("keys", [{}, {"num_heads": 3}])
def test_score_equals_that_of_the_saved_folder(llama, tmp_path, keys):
    one = trainer(llama, keys=KEYS | keys)
    one.train()
    prompts, texts = ["Story 1", "Story 2"], ["cat cat", "a dog"]
    scores = one.score(prompts, texts)
    saved = RewardModel(one.save(tmp_path / "saved")).score(prompts, texts)
    torch.testing.assert_close(torch.tensor(scores), torch.tensor(saved), rtol=1e-4, atol=1e-5)


def test_lora_is_saved_merged_with_its_adapter(llama, tmp_path):
    one = trainer(llama, model_keys={"use_peft": True, "lora_r": 2})
    one.train()
    folder = one.save(tmp_path / "saved")
    assert (folder / ADAPTER / "adapter_config.json").is_file()
    assert_same_weights(load_reward_model(folder), one._trained.model, rtol=0, atol=0)


def test_mistakes_are_found_before_the_model_is_loaded(llama):
    with raises("missing-key", "train_data"):
        RewardTrainer(str(llama))
    with raises("bad-row", "rows:1"):
        RewardTrainer(str(llama), [{"prompt": "Hi"}])
    with raises("not-trained", "score"):
        trainer(llama).score(["Hi"], ["Hello."])


@pytest.mark.parametrize("model_keys", [{}, {"use_peft": True, "lora_r": 2}])
def test_interrupted_run_saves_the_model_of_its_last_step(llama, tmp_path, model_keys):
    one = trainer(llama, model_keys=model_keys, normalization_data=DEMONSTRATIONS)

    def interrupt(step):
        one._steps = step
        if step == 2:
            raise KeyboardInterrupt

    one._count = interrupt
    with pytest.raises(KeyboardInterrupt):
        one.train()
    folder = one.save(tmp_path / "saved")
    assert "interrupted after step 2" in (folder / "README.md").read_text()
    assert read_manifest(folder).reward_std > 0
    saved = RewardModel(folder).score(["Story 1"], ["cat cat"])
    assert saved == pytest.approx(one.score(["Story 1"], ["cat cat"]), abs=1e-4)
    with raises("run-exists", "RewardTrainer"):
        one.train()


def test_last_step_of_an_interrupted_run_is_whole(llama, monkeypatch):
    """Ctrl-C during the optimizer step takes effect after it."""
    taken = []

    def step_under_interrupt(optimizer, *arguments):
        signal.raise_signal(signal.SIGINT)
        taken.append(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", step_under_interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer(llama).train()
    assert len(taken) == 1


def test_model_of_one_head_replaces_a_saved_ensemble(llama, tmp_path):
    for heads in (3, 1):
        one = trainer(llama, keys=KEYS | {"num_heads": heads})
        one.train()
        folder = one.save(tmp_path / "saved")
        assert (folder / "heads.safetensors").exists() == (heads == 3)


def test_whole_model_replaces_a_saved_adapter(llama, tmp_path):
    for use_peft in (True, False):
        one = trainer(llama, model_keys={"use_peft": use_peft})
        one.train()
        folder = one.save(tmp_path / "saved")
        assert (folder / ADAPTER).exists() == use_peft


def test_score_of_messages_needs_a_chat_template(llama):
    options = DataOptions(max_length=64, eval_fraction=0.3, chat_template="none")
    model = ModelConfig(model_name_or_path=str(llama), bf16=False)
    one = RewardTrainer(model, ROWS, config=RewardModelConfig(**KEYS), data_config=options)
    one.train()
    with raises("bad-value", "prompts[0]", "chat_template"):
        one.score([[{"role": "user", "content": "Hi"}]], ["Hello."])
