"""`RatingTrainer`: the recipe's weights, the saved folder, its axes, the health report."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlhf.data.config import DataOptions
from rlhf.evaluation.reward_model import cli as report_cli
from rlhf.labels.records import Label
from rlhf.labels.store import LabelStore
from rlhf.manifest import read_manifest
from rlhf.models.axes import AXES as AXES_FILE
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_reward_model
from rlhf.models.save import ADAPTER
from rlhf.recipes import reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from rlhf.training.rating.trainer import RatingTrainer
from rlhf.training.reward.config import RewardModelConfig
from tests.errors import raises
from tests.training.rating.tiny_ratings import (
    AXES,
    OUTCOME,
    SETTINGS,
    as_row,
    ratings,
    verdicts,
    write_rows,
)
from tests.training.tiny_runs import assert_same_weights

OPTIONS = DataOptions(max_length=64, eval_fraction=0.3)
KEYS = SETTINGS | {"max_steps": 3, "num_samples": 2}
DEMONSTRATIONS = [{"prompt": f"Story {i}", "completion": f"a cat and {i} dogs"} for i in range(6)]
KINDS = [pytest.param(verdicts, OUTCOME, id="outcome"), pytest.param(ratings, AXES, id="axes")]
PROMPTS, TEXTS = ["Story 1", "Story 2"], ["cat cat", "a dog"]


def trainer(llama, rows, kind, *, model_keys=None, keys=KEYS, **arguments):
    model = ModelConfig(model_name_or_path=str(llama), bf16=False, **(model_keys or {}))
    config = RewardModelConfig(**(keys | kind))
    rows = [as_row(row) for row in rows]
    return RatingTrainer(model, rows, config=config, data_config=OPTIONS, **arguments)


def words_of(llama, rows, folder, kind, **extra):
    keys = {
        **KEYS, **kind, "output_dir": folder, "model_name_or_path": llama, "bf16": False,
        "train_data": rows, "max_length": 64, "eval_fraction": 0.3, **extra,
    }  # fmt: skip
    return [f"--{key}={value}" for key, value in keys.items()]


def test_answers_of_a_label_form_train_heads_of_axes(llama, tmp_path):
    """From the label store to a reward model of two axes; helpful is 4 with a cat and 0 without,
    for half of the responses each: its mean is 2 and its standard deviation 2."""
    with LabelStore(tmp_path / "labels.sqlite") as store:
        for number in range(8):
            item_id = store.add(f"Story {number}", ["a cat", "a dog"])
            answers = {"helpful": [4, 0], "tone": ["kind", None], "rubric": [{"ok": True}, None]}
            extra = {"criteria": answers, "overall": [6, 2]}
            store.submit(Label(item_id=item_id, annotator="ann", ranks=(1, 2), extra=extra))
        rows = store.ratings()
    keys = KEYS | {"objective": "axes", "axis_weights": '{"helpful": 1, "overall": 0.5}'}
    trainer = RatingTrainer(
        ModelConfig(model_name_or_path=str(llama), bf16=False),
        rows,
        config=RewardModelConfig(**keys),
        data_config=OPTIONS,
    )
    assert [(axis.name, axis.mean, axis.std) for axis in trainer.setup.axes] == [
        ("helpful", 2.0, 2.0),
        ("overall", 4.0, 2.0),
    ]
    result = trainer.train()
    assert set(result.health.correlations) == {"helpful", "overall"}
    trainer.save(tmp_path / "model")
    heads = RewardModel(tmp_path / "model").score_axes(PROMPTS, TEXTS)
    assert heads.shape == (2, 2)


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_trainer_gives_the_weights_of_the_recipe(llama, tmp_path, monkeypatch, make, kind):
    rows = write_rows(tmp_path / "rows.jsonl", make(16))
    demonstrations = tmp_path / "demonstrations.jsonl"
    demonstrations.write_text("".join(json.dumps(row) + "\n" for row in DEMONSTRATIONS))
    words = words_of(llama, rows, tmp_path / "recipe", kind, normalization_data=demonstrations)
    monkeypatch.setattr("sys.argv", ["rlhf reward", *words])
    reward_model.main()
    one = trainer(
        llama, make(16), kind, normalization_data=DEMONSTRATIONS, output_dir=tmp_path / "class"
    )
    result = one.train()
    one.save()
    recipe, own = (load_reward_model(tmp_path / name) for name in ("recipe", "class"))
    assert_same_weights(recipe, own, rtol=0, atol=0)
    assert recipe.config.rlhf_reward_mean == own.config.rlhf_reward_mean
    assert result.normalization.mean == own.config.rlhf_reward_mean
    assert read_manifest(tmp_path / "recipe").stage == "reward_model"
    content = json.loads((tmp_path / "recipe" / "evaluation.json").read_text())
    metrics = {result["metric"] for result in content["results"]}
    expected = {"auc", "brier", "ece"} if kind == OUTCOME else {"correlation", "axis_correlation"}
    assert expected <= metrics
    assert json.loads((tmp_path / "recipe" / "gate.json").read_text())["verdict"]
    assert (tmp_path / "recipe" / "report.html").is_file()
    sample = json.loads((tmp_path / "recipe" / "samples" / "best.jsonl").read_text().split("\n")[0])
    [response] = sample["answers"].values()
    assert set(response["scores"]) == ({"correct"} if kind == OUTCOME else {"cats", "dogs"})


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_plain_transformers_loads_the_folder_and_gives_the_score(llama, tmp_path, make, kind):
    one = trainer(llama, make(16), kind, normalization_data=DEMONSTRATIONS)
    one.train()
    folder = one.save(tmp_path / "saved")
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    assert_same_weights(plain, one._trained.model.cpu(), rtol=0, atol=0)
    model = RewardModel(folder)
    saved, scores = model.score(PROMPTS, TEXTS), one.score(PROMPTS, TEXTS)
    assert saved == pytest.approx(scores, abs=1e-5)
    ids = model.chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": TEXTS[0]}],
        return_dict=True,
    )["input_ids"]
    with torch.no_grad():
        logit = plain(torch.tensor([ids])).logits[0, 0]
    assert saved[0] == pytest.approx(float(logit), abs=1e-5)


def test_reward_is_the_weighted_sum_of_the_axes(llama, tmp_path):
    one = trainer(llama, ratings(16), AXES)
    one.train()
    folder = one.save(tmp_path / "saved")
    model = RewardModel(folder)
    assert [(axis.name, axis.weight) for axis in model.axes] == [("cats", 1.0), ("dogs", -0.5)]
    assert model.objective == "axes"
    heads = model.score_axes(PROMPTS, TEXTS)
    expected = heads @ torch.tensor([1.0, -0.5])
    assert model.score(PROMPTS, TEXTS) == pytest.approx(expected.tolist(), abs=1e-5)
    trained = one.text_scores().score_axes(PROMPTS, TEXTS)
    torch.testing.assert_close(heads, trained, rtol=1e-4, atol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert config["rlhf_objective"] == "axes"
    assert [axis["weight"] for axis in config["rlhf_axes"]] == [1.0, -0.5]


def test_probability_of_a_verifier_is_the_reward_of_its_kind(llama, tmp_path):
    one = trainer(llama, verdicts(16), OUTCOME, normalization_data=DEMONSTRATIONS)
    one.train()
    folder = one.save(tmp_path / "saved")
    model = RewardModel(folder)
    logits = torch.tensor(model.score(PROMPTS, TEXTS))
    assert model.probabilities(PROMPTS, TEXTS) == pytest.approx(logits.sigmoid().tolist())
    torch.testing.assert_close(model.score_axes(PROMPTS, TEXTS)[:, 0], logits)
    reward = load_reward(f"2*{folder}", normalize="probability").score(PROMPTS, TEXTS)
    torch.testing.assert_close(reward.scores, 2 * logits.sigmoid())
    assert not (folder / AXES_FILE).exists()


def test_probability_of_another_model_is_rejected(llama, tmp_path):
    one = trainer(llama, ratings(16), AXES)
    one.train()
    folder = one.save(tmp_path / "saved")
    with raises("key-conflict", "outcome"):
        load_reward(str(folder), normalize="probability")
    with raises("key-conflict", "outcome"):
        RewardModel(folder).probabilities(PROMPTS, TEXTS)


def test_later_training_on_other_labels_removes_the_axes(llama, tmp_path):
    """An axes model becomes a verifier: neither the file nor the key is left."""
    first = trainer(llama, ratings(16), AXES, output_dir=tmp_path / "axes")
    first.train()
    first.save()
    assert (tmp_path / "axes" / AXES_FILE).is_file()
    second = trainer(tmp_path / "axes", verdicts(16), OUTCOME, output_dir=tmp_path / "verifier")
    second.train()
    folder = second.save()
    config = json.loads((folder / "config.json").read_text())
    assert "rlhf_axes" not in config
    assert (config["rlhf_objective"], RewardModel(folder).objective) == ("outcome", "outcome")


def test_folder_whose_heads_do_not_fit_is_rejected(llama, tmp_path):
    one = trainer(llama, ratings(16), AXES)
    one.train()
    folder = one.save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    config["rlhf_axes"] = config["rlhf_axes"][:1]
    (folder / "config.json").write_text(json.dumps(config))
    with raises("altered-model", AXES_FILE):
        RewardModel(folder)


def test_lora_is_saved_merged_with_its_adapter(llama, tmp_path):
    one = trainer(llama, ratings(16), AXES, model_keys={"use_peft": True, "lora_r": 2})
    one.train()
    folder = one.save(tmp_path / "saved")
    assert (folder / ADAPTER / "adapter_config.json").is_file()
    assert_same_weights(load_reward_model(folder), one._trained.model, rtol=0, atol=0)
    scores = RewardModel(folder).score(PROMPTS, TEXTS)
    assert scores == pytest.approx(one.score(PROMPTS, TEXTS), abs=1e-5)


def test_early_stopping_keeps_the_lowest_loss(llama):
    keys = KEYS | {"early_stopping_patience": 1, "eval_steps": 1, "learning_rate": 0.1}
    result = trainer(llama, verdicts(16), OUTCOME, keys=keys | {"max_steps": 40}).train()
    assert result.steps < 40
    assert "stopped early" in repr(result)


def test_mistakes_are_found_before_the_model_is_loaded(llama):
    with raises("no-rows", "correct"):
        trainer(llama, [row for row in verdicts(9) if row.ratings["correct"]], OUTCOME)
    with raises("bad-row", "birds"):
        trainer(llama, ratings(9), {"objective": "axes", "axis_weights": '{"birds": 1}'})
    with raises("bad-row", "correct"):
        trainer(llama, ratings(9), OUTCOME)
    with raises("key-conflict", "objective=rankings"):
        trainer(llama, ratings(9), {})
    with raises("not-trained", "score"):
        trainer(llama, verdicts(16), OUTCOME).score(["Hi"], ["Hello."])
    without = DataOptions(max_length=64, eval_fraction=0)
    rows = [as_row(row) for row in verdicts(9)]
    config = RewardModelConfig(objective="outcome", early_stopping_patience=1)
    with raises("key-conflict", "early_stopping_patience"):
        RatingTrainer(str(llama), rows, config=config, data_config=without)


def test_dry_run_prints_the_labels(llama, tmp_path, monkeypatch, capsys):
    rows = write_rows(tmp_path / "rows.jsonl", ratings(16))
    words = words_of(llama, rows, tmp_path / "run", AXES, dry_run=True)
    monkeypatch.setattr("sys.argv", ["rlhf reward", *words])
    reward_model.main()
    printed = capsys.readouterr().out
    assert "cats: " in printed
    assert "weight -0.5" in printed
    assert "fits" in printed
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_report_command_measures_the_saved_folder(llama, tmp_path, monkeypatch, make, kind):
    one = trainer(llama, make(16), kind)
    one.train()
    folder = one.save(tmp_path / "saved")
    rows = write_rows(tmp_path / "rows.jsonl", make(12, seed=3))
    key, other = ("outcomes", "ratings") if kind == OUTCOME else ("ratings", "outcomes")
    words = [f"--reward_model={folder}", f"--output_dir={tmp_path / 'out'}", "--cpu_threads=1"]
    monkeypatch.setattr("sys.argv", ["cli", *words, f"--{key}={rows}"])
    report_cli.main()
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    names = {result["metric"] for result in content["results"]}
    assert ("auc" if kind == OUTCOME else "axis_error") in names
    monkeypatch.setattr("sys.argv", ["cli", *words, f"--{other}={rows}"])
    with raises("key-conflict", "objective"):
        report_cli.main()
    monkeypatch.setattr("sys.argv", ["cli", *words])
    with raises("missing-key", "rankings"):
        report_cli.main()


@pytest.mark.slow
@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_two_processes_give_the_weights_of_one(llama, tmp_path, root, make, kind):
    rows = write_rows(tmp_path / "rows.jsonl", make(24))
    keys = {"max_steps": 4, "cpu_threads": 1, "learning_rate": 3e-3}
    whole = keys | {"per_device_train_batch_size": 8}
    one = words_of(llama, rows, tmp_path / "1", kind, **whole)
    two = words_of(llama, rows, tmp_path / "2", kind, **keys)
    for options, words in ((["--num_processes", "1"], one), (["--num_processes", "2"], two)):
        command = [sys.executable, "-m", "rlhf", "reward", *options, *words]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert_same_weights(
        load_reward_model(tmp_path / "1"), load_reward_model(tmp_path / "2"), rtol=1e-3, atol=1e-5
    )
    reports = [json.loads((tmp_path / n / "evaluation.json").read_text()) for n in ("1", "2")]
    values = [{r["metric"]: r["value"] for r in report["results"]} for report in reports]
    assert values[0].keys() == values[1].keys()
