"""`rlhf label import` and what follows it, as commands."""

import json

import sqlalchemy as sa

from rlhf.cli import run_command
from rlhf.labels.cli import main
from rlhf.labels.people import person_of
from rlhf.labels.schema import pre_labels
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.labels.sampled_rows import SAMPLED, read, write


def test_command_writes_dropped_rows_next_to_the_store(tmp_path, capsys):
    source = write(tmp_path / "bad.jsonl", [{"prompt": "p", "responses": "a"}, SAMPLED[0]])
    words = ["import", str(source), "--store", str(tmp_path / "s.sqlite"), "--drop_bad_rows"]
    main(words)
    rejects = tmp_path / "bad.jsonl.rejected.jsonl"
    assert capsys.readouterr().out == (
        f"{source}: 1 row, 1 new item, 0 new labels; left out: 1 empty response, 1 bad row, listed "
        f"in {rejects}\n"
    )
    assert rejects.exists()


def test_commands_run_from_candidates_to_rankings(tmp_path, capsys):
    source = write(tmp_path / "c.jsonl", SAMPLED)
    (tmp_path / "gold.py").write_text(
        "def score(prompts, completions, **columns):\n    return [len(c) for c in prompts]\n"
    )
    (tmp_path / "annotators.yaml").write_text("annotators: [{name: a, noise: 1}]")
    store, gold = str(tmp_path / "s.sqlite"), f"{tmp_path / 'gold.py'}:score"
    label = ["label"]
    assert run_command([*label, "import", source, "--store", store]) == 0
    options = ["--annotators", str(tmp_path / "annotators.yaml"), "--gold", gold]
    assert run_command([*label, "simulate", "--store", store, *options]) == 0
    assert run_command([*label, "stats", "--store", store, "--gold", gold]) == 0
    output = str(tmp_path / "r.jsonl")
    assert run_command([*label, "export", "--store", store, "--output", output]) == 0
    assert "1 ranking in" in capsys.readouterr().out
    assert len(read(tmp_path / "r.jsonl")) == 1


def test_guideline_is_imported_alone(tmp_path, capsys):
    store = ["--store", str(tmp_path / "s.sqlite")]
    (tmp_path / "g.md").write_text("Be fair.")
    assert main(["import", *store, "--guideline", str(tmp_path / "g.md")]) == 0
    assert "guideline version 1" in capsys.readouterr().out
    with LabelStore(tmp_path / "s.sqlite") as opened:
        assert opened.newest_guideline() == (1, "Be fair.")
    with raises("missing-key", "--guideline"):
        main(["import", *store])


def test_consensus_prelabels_and_roles_from_the_command_line(tmp_path, capsys):
    """The reward model prefers the longer response, as Bob does: only his label has weight."""
    path, store = tmp_path / "s.sqlite", ["--store", str(tmp_path / "s.sqlite")]
    (tmp_path / "length.py").write_text(
        "def score(prompts, completions, **columns):\n    return [len(c) for c in completions]\n"
    )
    model = f"{tmp_path / 'length.py'}:score"
    with LabelStore(path) as opened:
        opened.add("p", ["a", "bb"], ranks=[1, 2], annotator="ann", models=["m1", "m2"])
        opened.add("p", ["a", "bb"], ranks=[2, 1], annotator="bob", models=["m1", "m2"])
    output = tmp_path / "out.jsonl"
    export = ["export", *store, "--output", str(output), "--consensus"]
    assert main([*export, "reward_weighted", "--reward_model", model]) == 0
    assert json.loads(output.read_text())["ranks"] == [2, 1]
    card = (tmp_path / "out.jsonl.md").read_text()
    assert "the consensus (reward_weighted by length.py:score) of 2 annotators" in card
    assert str(tmp_path) not in card
    for wrong in (["majority", "--reward_model", model], ["majority", "--kind", "thumbs"]):
        with raises("key-conflict"):
            main([*export, *wrong])
    assert main(["prelabel", *store, "--reward_model", model]) == 0
    assert main(["invite", *store, "Dana", "--role", "adjudicator", "--tags", "de"]) == 0
    assert main(["stats", *store]) == 0
    printed = capsys.readouterr().out
    for text in ("1 item ranked", "Dana: http://", "which model won", "m1"):
        assert text in printed
    with LabelStore(path) as opened, opened.read() as connection:
        assert connection.scalars(sa.select(pre_labels.c.source)).all() == ["length.py:score"]
        dana = person_of(connection, "Dana")
        assert (dana.role, dana.tags) == ("adjudicator", ("de",))
