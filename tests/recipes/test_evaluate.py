"""evaluate.py on tiny random models, in this process."""

import json
import runpy
import sys

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.records import read_records
from rlhf.evaluation.core.results import find, read_results
from rlhf.manifest import write_manifest
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.save import save_policy, save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rollouts.native import NativeEngine
from rlhf.training.common.provenance import stage_manifest
from tests.tiny_models import make_model

GOLD = """
def score(prompts, completions, **columns):
    return [float(len(text)) for text in completions]

def axes(prompt, completion):
    return {"long": float(len(completion) > 5)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models of one vocabulary, one of another; prompts; a gold score."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_model(folder / "first", seed=0)
    make_model(folder / "second", seed=1)
    make_model(folder / "other", "qwen2")
    (folder / "gold.py").write_text(GOLD)
    prompts = [
        {"prompt": f"Say {i}.", "category": "even" if i % 2 == 0 else "odd"} for i in range(6)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "seen.jsonl").write_text('{"prompt": "say 3", "completion": "x"}\n')
    return folder


def _evaluate(root, monkeypatch, folder, output, *words, models=("first", "second"), data=""):
    """Exit status of the recipe."""
    keys = [
        f"--output_dir={output}",
        data or f"--eval_data={folder}/prompts.jsonl",
        "--num_generations=3",
        "--max_completion_length=6",
        "--bootstrap_samples=100",
        "--models",
        *(str(folder / model) for model in models),
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, *keys])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "recipes" / "evaluate.py"), run_name="__main__")
    return ended.value.code


def test_evaluation_writes_metrics_records_samples_and_report(root, tmp_path, monkeypatch, folder):
    words = [f"--gold={folder}/gold.py:score", f"--axes={folder}/gold.py:axes"]
    words += ["--train_data", str(folder / "seen.jsonl")]
    output = tmp_path / "run"
    assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    results = read_results(output)
    of = {"baseline": "first", "judge": "gold"}
    win = find(results, "win_rate", "second", **of)
    assert win.n == 6
    assert find(results, "win_rate", "second", **of, subset="even").n == 3
    assert find(results, "win_rate", "second", **of, with_contaminated=False).n == 5
    assert find(results, "kl", "second").value > 0
    assert find(results, "kl", "first") is None
    assert find(results, "axis", "first", axis="long", judge="gold") is not None
    for name in ("empty", "lookup"):  # with the texts "" and "x"
        assert find(results, "axis", name, axis="long", judge="gold").value == 0.0
        assert find(results, "axis", name, axis="long", judge="gold", subset="even").n == 3
    # A random model of 340 tokens: its own responses have about log 340 = 5.83 nats per token.
    assert find(results, "reference_loss", "first").value == pytest.approx(5.83, abs=0.1)
    records = read_records(output / "answers.jsonl")
    assert len(records) == 2 * 6 * 3 + 5 * 6  # five null baselines
    # The win rate can be computed again from the records.
    lengths = {(r.model, r.prompt_index): [] for r in records}
    for r in records:
        lengths[r.model, r.prompt_index].append(len(r.text))
    wins = [
        (a > b) + 0.5 * (a == b)
        for i in range(6)
        for a in lengths["second", i]
        for b in lengths["first", i]
    ]
    assert win.value == pytest.approx(sum(wins) / len(wins))
    assert {p.name for p in (output / "samples").iterdir()} == {
        "best.jsonl",
        "worst.jsonl",
        "random.jsonl",
    }
    assert "Held-out prompts" in (output / "report.html").read_text()


def test_responses_survive_a_judge_that_fails(root, tmp_path, monkeypatch, capsys, folder):
    """They are judged later without sampling again; without train_data nothing is flagged."""
    (tmp_path / "bad.py").write_text(
        "def score(prompts, completions, **columns):\n    return 1/0\n"
    )
    output = tmp_path / "run"
    words = [f"--gold={tmp_path}/bad.py:score"]
    assert _evaluate(root, monkeypatch, folder, output, *words) == 1
    assert "the same command scores them again" in capsys.readouterr().out
    before = [r.text for r in read_records(output / "answers.jsonl") if r.model == "second"]
    words = [f"--gold={folder}/gold.py:score", f"--answers={output}/answers.jsonl"]
    words += ["--resume_from_checkpoint=latest"]
    assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    after = [r.text for r in read_records(output / "answers.jsonl") if r.model == "second"]
    assert before == after
    assert len(before) == 18
    assert "no train_data" in capsys.readouterr().out
    assert json.loads((output / "evaluation.json").read_text())["contaminated_prompts"] is None
    assert "Contamination was not checked" in (output / "report.html").read_text()


def _files(folder):
    """The results in a folder, by name."""
    texts = {path.name: path for path in folder.rglob("*.json*")}
    return {name: path.read_text() for name, path in texts.items()}


def test_interrupted_evaluation_equals_the_uninterrupted_one(
    root, tmp_path, monkeypatch, capsys, folder
):
    """Two models, three batches of two prompts each; the fifth batch is interrupted, then the
    judge fails. The second command samples two batches, the third one none."""
    (tmp_path / "gold.py").write_text(GOLD)
    words = [f"--gold={tmp_path}/gold.py:score", "--per_device_eval_batch_size=6"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "whole", *words) == 0
    generate, batches = NativeEngine.generate, []

    def interrupted(engine, batch, sampling):
        batches.append(batch.prompts[0])
        if len(batches) == 5:
            raise KeyboardInterrupt
        return generate(engine, batch, sampling)

    monkeypatch.setattr(NativeEngine, "generate", interrupted)
    output = tmp_path / "run"
    assert _evaluate(root, monkeypatch, folder, output, *words) == 130
    assert len((output / "answers.jsonl.0.partial").read_text().splitlines()) == 1 + 4 * 6
    (tmp_path / "gold.py").write_text(GOLD.replace("float(len(text))", "1 / 0"))
    assert _evaluate(root, monkeypatch, folder, output, *words) == 1
    assert len(batches) == 7
    assert "continues after 24 responses" in capsys.readouterr().out
    (tmp_path / "gold.py").write_text(GOLD)
    load = "rlhf.evaluation.core.sample_models.load_evaluated_model"
    with monkeypatch.context() as patch:
        patch.setattr(load, lambda *_: pytest.fail("loaded"))
        assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    assert _files(output) == _files(tmp_path / "whole")
    assert (output / "config.yaml").read_text().splitlines()[1:] == (
        (tmp_path / "whole" / "config.yaml").read_text().splitlines()[1:]
    )
    assert _evaluate(root, monkeypatch, folder, output, *words) == 2  # it is complete
    assert "[run-exists]" in capsys.readouterr().err


def test_responses_of_other_settings_are_replaced_on_request(
    root, tmp_path, monkeypatch, capsys, folder
):
    """A changed temperature is named and replaces nothing unasked; asked, it equals a new run."""
    assert _evaluate(root, monkeypatch, folder, tmp_path / "hot", "--temperature=2") == 0
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("rlhf.evaluation.run.judge_records", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _evaluate(root, monkeypatch, folder, output)
    before = (output / "answers.jsonl.0.partial").read_text()
    assert _evaluate(root, monkeypatch, folder, output, "--temperature=2") == 2
    error = capsys.readouterr().err
    assert "temperature=1.0" in error
    assert "--overwrite true. [other-run]" in error
    assert (output / "answers.jsonl.0.partial").read_text() == before
    words = ["--temperature=2", "--resume_from_checkpoint=latest"]
    assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    assert "temperature=1.0" in capsys.readouterr().out
    assert _files(output) == _files(tmp_path / "hot")


def test_resume_with_other_keys_keeps_earlier_results(root, tmp_path, monkeypatch, capsys, folder):
    """Equal keys and further judges may be resumed; keys that change results may not."""
    output, gold = tmp_path / "run", f"--gold={folder}/gold.py:score"
    resume = "--resume_from_checkpoint=latest"
    assert _evaluate(root, monkeypatch, folder, output) == 0
    before = (output / "evaluation.json").read_text()
    for words in (["--max_prompts=4"], ["--seed=1", "--dry_run"], ["--temperature=0.5", gold]):
        assert _evaluate(root, monkeypatch, folder, output, resume, *words) == 2
        error = capsys.readouterr().err
        assert "[other-run]" in error
        assert words[0].partition("=")[0].strip("-") in error
    assert (output / "evaluation.json").read_text() == before
    assert _evaluate(root, monkeypatch, folder, output, resume, gold) == 0
    results = read_results(output)
    assert find(results, "win_rate", "second", baseline="first", judge="gold") is not None
    assert _evaluate(root, monkeypatch, folder, output, resume) == 2  # it would drop the win rates
    assert "gold" in capsys.readouterr().err
    assert read_results(output) == results


def test_categories_can_be_any_json_value(root, tmp_path, monkeypatch, folder):
    kinds = [1, "1", ["a"], None, True, ["a"]]
    rows = [{"prompt": f"Say {i}.", "category": kind} for i, kind in enumerate(kinds)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"--gold={folder}/gold.py:score"]
    data = f"--eval_data={tmp_path}/odd.jsonl"
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words, data=data) == 0
    subsets = {r.subset for r in read_results(tmp_path / "run") if r.metric == "score"}
    assert subsets == {None, "1", "['a']"}  # `True` has a single prompt


def test_batch_size_changes_no_response(root, tmp_path, monkeypatch, folder):
    for size in (3, 64):
        words = [f"--per_device_eval_batch_size={size}"]
        assert _evaluate(root, monkeypatch, folder, tmp_path / str(size), *words) == 0
    few, many = (read_records(tmp_path / size / "answers.jsonl") for size in ("3", "64"))
    assert [r.text for r in few] == [r.text for r in many]
    assert [r.kl or 0.0 for r in few] == pytest.approx([r.kl or 0.0 for r in many], abs=1e-5)


def test_models_of_different_vocabulary_have_win_rates_and_no_kl(
    root, tmp_path, monkeypatch, folder
):
    words = [f"--gold={folder}/gold.py:score"]
    models = ("first", "other")
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words, models=models) == 0
    results = read_results(tmp_path / "run")
    assert find(results, "win_rate", "other", baseline="first", judge="gold") is not None
    assert find(results, "kl", "other") is None
    assert find(results, "reference_loss", "other") is None


def _finished_stage(folder, base):
    """A chat-trained policy of `base` with its manifest."""
    chat = load_tokenizer(str(base))
    save_policy(folder, load_policy(base), chat)
    manifest = stage_manifest(
        folder,
        stage="sft",
        base_model=str(base),
        chat=chat,
        seed=0,
        world_size=1,
        data=[],
        configs=[],
    )
    write_manifest(folder, manifest)
    return folder


def test_incompatible_chat_template_and_altered_weights_raise(
    root, tmp_path, monkeypatch, capsys, folder
):
    """A chat model with raw prompts, as policy and as judge; then a model that was altered."""
    sft = _finished_stage(tmp_path / "sft", folder / "first")
    output, models = tmp_path / "run", ("first", sft)
    raw = "--chat_template=none"
    for words, names in (([raw], models), ([raw, f"--reward_model={sft}"], ("first",))):
        assert _evaluate(root, monkeypatch, folder, output, *words, models=names) == 2
        assert "was trained on chat prompts and this run uses raw" in capsys.readouterr().err
    (sft / "model.safetensors").write_bytes((folder / "second/model.safetensors").read_bytes())
    assert _evaluate(root, monkeypatch, folder, output, models=models) == 2
    assert "the weights changed after manifest.json was written" in capsys.readouterr().err
    assert not output.exists()


def test_judge_of_raw_prompts_reads_raw_text(root, tmp_path, monkeypatch, folder):
    judge, base = tmp_path / "judge", folder / "first"
    save_reward_model(judge, new_reward_model(base, seed=0), load_tokenizer(str(base)), 0.0, 1.0)
    words = [f"--reward_model={judge}", "--chat_template=none"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words, models=("first",)) == 0
    records = read_records(tmp_path / "run" / "answers.jsonl")
    records = [r for r in records if (r.prompt_index, r.model) == (0, "first")]
    raw, chat = (
        RewardModel(judge, chat_template=template).score(["Say 0."] * 3, [r.text for r in records])
        for template in ("none", "auto")
    )
    scores = [r.scores["reward_model"] for r in records]
    assert scores == pytest.approx(raw, abs=1e-4)
    assert scores != pytest.approx(chat, abs=1e-2)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--baseline=third"], "[bad-value]"),
        (["--temperature=0"], "temperature"),
        (["--max_prompts=0"], "max_prompts=0"),
        (["--max_prompts=1"], "max_prompts"),
        (["--num_examples=-1"], "num_examples=-1"),
        (["--seed=-1"], "seed=-1"),
        (["--push_to_hub=me/x"], "push_to_hub"),
        (["--report_to=wandb", "--dry_run"], "report_to"),
        (["--gold=nowhere.py:score"], "no such file"),
        (["--max_prompt_length=3"], "tokens"),
    ],
)
def test_bad_key_exits_with_status_2(root, tmp_path, monkeypatch, capsys, folder, words, name):
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert name in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation.json").exists()
