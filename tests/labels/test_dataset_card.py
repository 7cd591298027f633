"""The card of exported labels, and its upload to the hub."""

import huggingface_hub
import pytest
import yaml

from rlhf.cli import run_command
from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore
from tests.errors import raises


@pytest.fixture
def location(tmp_path) -> str:
    """Two annotators, of whom one saw the first version of the guideline."""
    path = tmp_path / "labels.sqlite"
    candidates = [
        Candidate(prompt=f"Who is {n}?", responses=["a", "b", "c"], columns={"topic | x": "y"})
        for n in range(3)
    ]
    with LabelStore(path, create=True) as store:
        version = store.add_guideline("# Be kind\n\nPrefer short answers.")
        for item in store.add_candidates(candidates):
            for name, ranks in (("Ann", [1, 2, 3]), ("Bob", [1, 3, 2])):
                label = Label(item_id=item, annotator=name, ranks=ranks)
                store.submit(label if name == "Bob" else Label(
                    item_id=item, annotator=name, ranks=ranks, guideline_version=version
                ))  # fmt: skip
    return str(path)


def export(location, output, *words: str) -> str:
    """The card of an export."""
    store = ["label", "export", "--store", location, "--output", str(output)]
    run_command([*store, *words])
    return (output.parent / f"{output.name}.md").read_text()


def test_card_has_fields_agreement_consent_and_guideline(location, tmp_path):
    """Both put a first, and disagree on one of three pairs of each item: 2/3."""
    card = export(
        location, tmp_path / "r.jsonl", "--consent", "All agreed.", "--license", "cc-by-4.0"
    )
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "cc-by-4.0",
        "tags": ["preferences", "human-feedback", "rlhf"],
        "configs": [{"config_name": "default", "data_files": "r.jsonl"}],
    }
    assert "6 rows of 2 annotators, labelled on 2" in body
    assert "| `ranks` | a rank for each response; 1 is best, equal ranks tie |" in body
    assert "| `topic \\| x` | a column of the prompts |" in body
    assert "## Left out\n\nNothing." in body
    assert "Krippendorff's alpha" in body
    assert "same decision on 0.67" in body
    assert "## Consent of the annotators\n\nAll agreed." in body
    assert "## Guideline, version 1 (3 labels)\n\n> # Be kind\n>\n> Prefer short answers." in body


def test_card_of_pairs_counts_what_is_left_out(location, tmp_path):
    card = export(location, tmp_path / "p.csv", "--kind", "pairs")
    assert "18 rows of 2 annotators" in card
    assert "| `chosen` | the better response |" in card
    assert "- tied pairs: 0" in card
    assert "Not stated." in card


def test_card_of_a_consensus_counts_the_people_and_explains_the_probability(location, tmp_path):
    """In other rows `probability` is that of the item being drawn."""
    words = ("--kind", "pairs", "--consensus", "majority")
    card = export(location, tmp_path / "c.jsonl", *words)
    assert "6 rows, the consensus (majority) of 2 annotators, labelled on 2" in card
    assert "| `probability` | that `chosen` is better than `rejected` |" in card
    assert "| `annotator` | consensus, for the people who labelled the item |" in card


class Hub:
    """Records what is uploaded."""

    def __init__(self):
        self.repo, self.files = None, {}

    def create_repo(self, name, **options):
        self.repo = (name, options)
        return f"https://hub.example/datasets/{name}"

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, repo_type):
        content = path_or_fileobj
        content = content if isinstance(content, bytes) else content.read_bytes()
        self.files[repo_id, repo_type, path_in_repo] = content


@pytest.mark.parametrize("public", [False, True])
def test_upload_has_the_file_and_its_card(location, tmp_path, monkeypatch, capsys, public):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    output = tmp_path / "r.jsonl"
    words = ["--push_to_hub", "me/labels", *(["--public"] if public else [])]
    card = export(location, output, *words)
    options = {"repo_type": "dataset", "private": not public, "exist_ok": True}
    assert hub.repo == ("me/labels", options)
    assert hub.files == {
        ("me/labels", "dataset", "r.jsonl"): output.read_bytes(),
        ("me/labels", "dataset", "README.md"): card.encode(),
    }
    assert "https://hub.example/datasets/me/labels" in capsys.readouterr().out


def test_upload_that_fails_leaves_the_file(location, tmp_path, monkeypatch):
    class Unreachable(Hub):
        def upload_file(self, **options):
            raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "HfApi", Unreachable)
    output = tmp_path / "r.jsonl"
    with raises("upload-failed", "me/labels", "no route", output):
        export(location, output, "--push_to_hub", "me/labels")
    assert output.read_text().count("\n") == 6


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["--push_to_hub", "a/b/c"], "bad-hub-id", "a/b/c"),
        (["--push_to_hub", "me/x", "--kind", "argilla"], "key-conflict", "argilla"),
    ],
)
def test_upload_is_checked_before_the_export(location, tmp_path, words, code, name):
    with raises(code, name):
        export(location, tmp_path / "r.jsonl", *words)
    assert not (tmp_path / "r.jsonl").exists()
