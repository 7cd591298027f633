"""Hub datasets by name and by path; a folder takes the place of the hub."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

from rlhf.data.files.read import read_rows, source_sha256
from rlhf.data.files.read_hub import HubName, hub_name
from tests.errors import raises


def test_unreachable_hub_names_the_dataset_and_the_error(monkeypatch):
    import datasets

    def fail(name: str, split: str):
        raise ConnectionError(f"{name} {split}")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with raises("bad-hub-id", "ConnectionError: someone/some-set validation"):
        list(read_rows("someone/some-set:validation"))


def test_hub_rows_have_the_split_and_number_as_place(monkeypatch):
    import datasets

    calls = []

    def load(name: str, split: str):
        calls.append((name, split))
        return datasets.Dataset.from_list([{"text": "a"}, {"text": None}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = list(read_rows("someone/some-set:validation"))
    assert calls == [("someone/some-set", "validation")]
    assert [(str(where), row) for where, row in rows] == [
        ("someone/some-set:validation:1", {"text": "a"}),
        ("someone/some-set:validation:2", {}),
    ]
    before = source_sha256("someone/some-set:validation")
    assert source_sha256("someone/some-set:validation") == before
    changed = datasets.Dataset.from_list([{"text": "b"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: changed)
    assert source_sha256("someone/some-set:validation") != before


@pytest.fixture
def two_configurations(tmp_path: Path, monkeypatch) -> Path:
    """A dataset of two configurations in a folder; `socratic` has a split of the other's name."""
    import datasets

    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: main\n  data_files:\n  - split: train\n    path: a.jsonl\n"
        "- config_name: socratic\n  data_files:\n  - split: train\n    path: b.jsonl\n"
        "  - split: main\n    path: c.jsonl\n---\n"
    )
    load = datasets.load_dataset

    def from_folder(path: str, *names: str, **keys: str):
        assert path == "org/set"
        return load(str(tmp_path), *names, cache_dir=str(tmp_path / "cache"), **keys)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("org/set:main:train", "a"),
        ("org/set:main", "a"),
        ("org/set:socratic", "b"),
        ("org/set:socratic:main", "c"),
        ("org/set:socratic:train[:1]", "b"),
    ],
)
def test_configurations_and_splits_of_a_hub_dataset(two_configurations, source: str, text: str):
    assert [row for _, row in read_rows(source)] == [{"text": text}]


@pytest.mark.parametrize(
    ("source", "available"),
    [
        ("org/set", "['main', 'socratic']"),
        ("org/set:train", "['main', 'socratic']"),
        ("org/set:other:train", "['main', 'socratic']"),
        ("org/set:main:test", "['train']"),
        ("org/set:a:b:c", "name[:config][:split][@revision]"),
    ],
)
def test_unknown_hub_name_lists_the_available_ones(two_configurations, source, available):
    with raises("bad-hub-id", source, available):
        list(read_rows(source))


def test_split_precedes_a_configuration_of_its_name(tmp_path: Path, monkeypatch):
    import datasets

    (tmp_path / "main.jsonl").write_text('{"text": "the split"}\n')
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  default: true\n  data_files:\n"
        "  - split: main\n    path: main.jsonl\n"
        "- config_name: main\n  data_files: absent.jsonl\n---\n"
    )
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda path, *names, **keys: load(
            str(tmp_path), *names, cache_dir=str(tmp_path / "cache"), **keys
        ),
    )
    assert [row for _, row in read_rows("org/set:main")] == [{"text": "the split"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/set", HubName("org/set")),
        ("gsm8k:test", HubName("gsm8k", "test")),
        ("nvidia/HelpSteer3:preference:train", HubName("nvidia/HelpSteer3", "preference", "train")),
        ("org/set:train[:100]@refs/convert", HubName("org/set", "train[:100]", "", "refs/convert")),
        ("org/set@v1.0", HubName("org/set", "", "", "v1.0")),
        ("org/set:train+test[10:20]", HubName("org/set", "train+test[10:20]")),
    ],
)
def test_hub_name_is_split_into_parts(source: str, expected: HubName):
    assert hub_name(source) == expected


class FolderAsHub(LocalFileSystem):
    """`hf://datasets/…` below a folder, without a network."""

    root = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return f"{cls.root}/{str(path).removeprefix('hf://').removeprefix(cls.root + '/')}"


ROWS = [{"text": "x"}, {"text": "y"}]


def write_rows(path: Path) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text("text\nx\ny\n")
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz", "a.csv"])
def test_hub_file_is_read_by_its_path(tmp_path: Path, monkeypatch, name: str):
    folder = tmp_path / "datasets" / "org" / "set"
    folder.mkdir(parents=True)
    path = write_rows(folder / name)
    monkeypatch.setattr(FolderAsHub, "root", str(tmp_path))
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", FolderAsHub)
    source = f"hf://datasets/org/set/{name}"
    placed = list(read_rows(source))
    assert [row for _, row in placed] == ROWS
    assert placed[0][0].file == source
    assert source_sha256(source) == source_sha256(str(path))
    with raises("bad-hub-id", f"other-{name}", "FileNotFoundError"):
        list(read_rows(f"hf://datasets/org/set/other-{name}"))
    with raises("unknown-format", "hf://datasets/org/set"):
        list(read_rows("hf://datasets/org/set"))
