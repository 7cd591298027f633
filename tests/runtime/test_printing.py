"""Names and paths with brackets, blanks, `=`, bars, and accents in two Unicode forms."""

import json
import subprocess
import sys
import unicodedata
from dataclasses import dataclass

import pytest
import yaml
from rich.table import Table

from rlhf.data.rows.parse import parse_ranking
from rlhf.evaluation.core.config import named_paths
from rlhf.labels.access import invite, names
from rlhf.labels.records import Label
from rlhf.labels.simulate import Annotator
from rlhf.labels.store import LabelStore
from rlhf.manifest import DataUse, Manifest
from rlhf.runtime.printing import plain_console
from rlhf.runtime.run_folder import RunConfig, open_run_folder
from rlhf.training.common.publish import publish
from tests.errors import raises


@dataclass(frozen=True, kw_only=True)
class Reads:
    models: list[str]


NAMES = [
    "sft[lr=0.1]",
    "sft[/v2]",
    "[bold]x",
    " leading",
    "a :smile: b",
    "r\u00e9sum\u00e9",
    "\\[x]",
]


def manifest(base, data):
    return Manifest(
        stage="sft", base_model=base, base_model_sha256="", weights_sha256="", tokenizer_sha256="",
        chat_template_sha256="", chat_template_source="none", pad_token_id=0, eos_token_ids=(1,),
        seed=0, world_size=1, data=(DataUse(role="train", path=data, sha256="0", rows=1),),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_terminal_prints_names_unchanged(name, capsys):
    table = Table(name, "value", title=name)
    table.add_row("model", name)
    plain_console().print(table)
    plain_console().print(f"at {name}")
    assert capsys.readouterr().out.count(name) == 4


@pytest.mark.parametrize("name", [*NAMES, "a|b", "a: b # c", 'quo"te'])
def test_model_card_and_final_table_keep_names_and_paths(tmp_path, name, capsys):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    publish(
        folder, manifest(f"runs/{name}", f"data/{name}"), title="t", metrics={"a|b": "c"},
        loads_with="AutoModelForCausalLM", places={"it": name},
    )  # fmt: skip
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == f"runs/{name}"
    cell = name.replace("|", "\\|")
    assert f"| train | data/{cell} | 1 | 0 | `0` |" in card
    assert "| a\\|b | c |" in card
    [usage] = [line for line in card.splitlines() if "from_pretrained" in line]
    assert json.loads(usage.partition("(")[2].removesuffix(")")) == folder.name
    assert name in capsys.readouterr().out


def test_existing_path_may_contain_an_equals_sign(tmp_path, monkeypatch):
    (tmp_path / "runs" / "lr=0.1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert named_paths(["runs/lr=0.1"], "models") == {"lr=0.1": "runs/lr=0.1"}
    assert named_paths(["best=runs/lr=0.1"], "models") == {"best": "runs/lr=0.1"}


def test_input_with_an_equals_sign_is_never_overwritten(tmp_path):
    """Split at `=` it is not a path, and was taken for one outside the folder."""
    folder = tmp_path / "lr=0.1"
    (folder / "data=v1").mkdir(parents=True)
    run = RunConfig(output_dir=str(folder), overwrite=True)
    open_run_folder(run)
    for word in ("{}/data=v1", "a={}/data=v1", "-0.5*{}/data=v1"):
        with raises("key-conflict", "models", "data=v1"):
            open_run_folder(run, Reads(models=[word.format(folder)]))


def test_name_in_two_unicode_forms_is_one_annotator(tmp_path):
    composed, decomposed = "Zo\u00eb", unicodedata.normalize("NFD", "Zo\u00eb")
    assert composed != decomposed
    row = {"prompt": "Name a bird.", "responses": ["A robin.", "A chair."], "ranks": [1, 2]}
    assert parse_ranking({**row, "annotator": decomposed}).annotator == composed
    assert Annotator(name=decomposed).name == composed
    label = Label(item_id=1, annotator=decomposed, ranks=(1, 2), order_shown=())
    assert label.annotator == composed
    with LabelStore(tmp_path / "a.sqlite", create=True) as store:
        invite(store, decomposed)
        invite(store, composed)
        assert names(store) == [composed]


def test_label_stats_counts_both_forms_as_one_annotator(tmp_path):
    rows = [
        {"prompt": f"Name bird {n}.", "responses": ["A robin.", "A chair."], "ranks": [1, 2],
         "annotator": unicodedata.normalize(form, "Zo\u00eb [ward b]")}
        for n, form in enumerate(("NFC", "NFD"))
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rlhf = [sys.executable, "-m", "rlhf.cli", "label"]
    store = ["--store", str(tmp_path / "a.sqlite")]
    subprocess.run([*rlhf, "import", *store, str(tmp_path / "a.jsonl")], check=True)
    done = subprocess.run([*rlhf, "stats", *store], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if "Zo\u00eb [ward b]" in line]
    assert lines
    assert lines[0].split()[3] == "2"
