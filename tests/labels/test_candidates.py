"""`rlhf sample`: K responses from the models in turn, with the prompt's other columns."""

import json
from pathlib import Path

import pytest
import torch

from rlhf.labels import candidates as sampling
from rlhf.labels.candidates import sample_candidates
from rlhf.labels.importing import import_file
from rlhf.labels.sample_cli import main
from rlhf.labels.store import LabelStore
from rlhf.models.generation import generate as generation
from rlhf.models.load import load_policy
from tests.errors import raises
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def prompts(tmp_path) -> str:
    rows = [{"prompt": f"Where is ball {n}?", "category": f"c{n}"} for n in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "prompts.jsonl")


def test_command_writes_rows_that_the_store_imports(folder, prompts, tmp_path, capsys):
    output = tmp_path / "c.jsonl"
    keys = {"--num_responses": "3", "--max_new_tokens": "8", "--seed": "4"}
    words = [word for pair in keys.items() for word in pair]
    assert (
        main(["--model", str(folder), "--prompts", prompts, "--output", str(output), *words]) == 0
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["category"] for row in rows] == ["c0", "c1", "c2"]
    assert all(row["models"] == [str(folder)] * 3 for row in rows)
    assert len({text for row in rows for text in row["responses"]}) > 6
    [following] = [line for line in capsys.readouterr().err.splitlines() if "next: " in line]
    assert following.endswith(f"label import {output} --store STORE")  # can be pasted
    with LabelStore(tmp_path / "s.sqlite", create=True) as store:
        assert import_file(store, str(output)).rows == 3
        assert store.items()[0].columns == {"category": "c0"}


def test_responses_do_not_depend_on_the_batch_size(folder, prompts):
    def sample(models, batch_size):
        candidates = sample_candidates(
            models, prompts, num_responses=4, max_new_tokens=8, batch_size=batch_size, bf16=False
        )
        return [list(candidate.responses) for candidate in candidates]

    one = sample([str(folder)], 2)
    assert one == sample([str(folder)], 64)
    twice = sample([str(folder)] * 2, 64)
    assert len(twice[0]) == 4
    assert twice[0][:2] != twice[0][2:]  # a model given twice samples different responses


@pytest.mark.parametrize(
    "option",
    [["num_responses", "0"], ["max_new_tokens", "-1"], ["batch_size", "0"], ["temperature", "nan"]],
)
def test_number_out_of_range_is_named(option):
    with raises("bad-value", f"--{' '.join(option)}"):
        main(["--model", "m", "--prompts", "p", "--output", "o", f"--{option[0]}", option[1]])


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        (["--bf16"], torch.bfloat16),
        (["--bf16", "true"], torch.bfloat16),
        (["--bf16", "false"], torch.float32),
        ([], torch.bfloat16 if torch.cuda.is_available() else torch.float32),
    ],
)
def test_model_computes_in_the_precision_of_the_option(
    folder, prompts, tmp_path, monkeypatch, words, dtype
):
    """Without the option it is bf16 on a GPU and float32 on a CPU."""
    seen = set()

    def load(*args, **keys):
        model = load_policy(*args, **keys)
        product = model.model.layers[0].mlp.down_proj
        product.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
        return model

    monkeypatch.setattr(sampling, "load_policy", load)
    files = ["--model", str(folder), "--prompts", prompts, "--output", str(tmp_path / "c.jsonl")]
    assert main([*files, "--max_new_tokens", "2", "--num_responses", "1", *words]) == 0
    assert seen == {dtype}


def test_word_that_is_no_bool_is_named():
    with raises("bad-value", "--bf16", "'maybe'"):
        main(["--model", "m", "--prompts", "p", "--output", "o", "--bf16", "maybe"])


def test_mistakes_raise_before_weights_load(folder, prompts, tmp_path):
    model = [str(folder)]
    with raises("key-conflict", "num_responses=1", 2):
        sample_candidates(model * 2, prompts, num_responses=1, max_new_tokens=8)
    with raises("too-long", "max_new_tokens=256"):
        sample_candidates(model, prompts, num_responses=1, max_new_tokens=256)
    with raises("bad-row", "prompts.jsonl:1", 250):
        sample_candidates(model, prompts, num_responses=1, max_new_tokens=250)
    with pytest.raises(OSError, match=str(tmp_path)):
        sample_candidates([str(tmp_path)], prompts, num_responses=1, max_new_tokens=8)


def test_interrupted_command_continues_where_it_stopped(
    folder, prompts, tmp_path, monkeypatch, capsys
):
    """Three batches of one prompt; the second one is interrupted. The second run samples two."""
    whole, output = tmp_path / "whole.jsonl", tmp_path / "c.jsonl"
    words = ["--model", str(folder), "--prompts", prompts, "--num_responses", "3"]
    words += ["--max_new_tokens", "8", "--batch_size", "3", "--bf16", "false", "--output"]
    main([*words, str(whole)])
    generate, batches = generation.generate, []

    def interrupted(model, batch, **keys):
        batches.append(batch.prompts[0])
        if len(batches) == 2:
            raise KeyboardInterrupt
        return generate(model, batch, **keys)

    monkeypatch.setattr(generation, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main([*words, str(output)])
    partial = tmp_path / "c.jsonl.partial"
    assert len(partial.read_text().splitlines()) == 2  # settings and a prompt
    assert str(partial) in capsys.readouterr().err
    assert not output.exists()
    with raises("other-run", str(partial), "seed=0"):
        main([*words, str(output), "--seed", "1"])
    with raises("other-run", str(partial), "bf16=False"):
        main([*words, str(output), "--bf16", "true"])
    main([*words, str(output)])
    assert output.read_text() == whole.read_text()
    assert not partial.exists()
    assert len(batches) == 4
    assert batches[1] in batches[2:]
    assert batches[0] not in batches[1:]
