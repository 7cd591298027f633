"""Data sets of the hub by name and by path; a folder stands for the hub."""

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
from rlhf.errors import DataError


def test_a_hub_name_without_a_hub_says_what_it_looked_for(monkeypatch):
    import datasets

    def refuse(name: str, split: str):
        raise ConnectionError(f"{name} {split}")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    said = r"neither a file here nor .*ConnectionError: someone/some-set validation"
    with pytest.raises(DataError, match=said):
        list(read_rows("someone/some-set:validation"))


def test_hub_rows_have_the_split_and_number_as_place(monkeypatch):
    import datasets

    asked = []

    def give(name: str, split: str):
        asked.append((name, split))
        return datasets.Dataset.from_list([{"text": "a"}, {"text": None}])

    monkeypatch.setattr(datasets, "load_dataset", give)
    rows = list(read_rows("someone/some-set:validation"))
    assert asked == [("someone/some-set", "validation")]
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
    """A set of two configurations in a folder; `socratic` has a split of the other's name."""
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
def test_configurations_and_splits_of_a_hub_set(two_configurations, source: str, text: str):
    assert [row for _, row in read_rows(source)] == [{"text": text}]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("org/set", r"available configs: \['main', 'socratic'\]"),
        ("org/set:train", r"available configs: \['main', 'socratic'\]"),
        ("org/set:other:train", r"'other' not found. Available: \['main', 'socratic'\]"),
        ("org/set:main:test", r"""Unknown split "test". Should be one of \['train'\]"""),
        ("org/set:a:b:c", "no name of a data set"),
    ],
)
def test_a_hub_name_that_is_not_there_says_what_is(two_configurations, source, message):
    with pytest.raises(DataError, match=message):
        list(read_rows(source))


def test_a_split_goes_before_a_configuration_of_its_name(tmp_path: Path, monkeypatch):
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
def test_parts_of_a_hub_name(source: str, expected: HubName):
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
def test_a_path_of_a_hub_file(tmp_path: Path, monkeypatch, name: str):
    folder = tmp_path / "datasets" / "org" / "set"
    folder.mkdir(parents=True)
    path = write_rows(folder / name)
    monkeypatch.setattr(FolderAsHub, "root", str(tmp_path))
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", FolderAsHub)
    source = f"hf://datasets/org/set/{name}"
    found = list(read_rows(source))
    assert [row for _, row in found] == ROWS
    assert found[0][0].file == source
    assert source_sha256(source) == source_sha256(str(path))
    with pytest.raises(DataError, match="FileNotFoundError"):
        list(read_rows(f"hf://datasets/org/set/other-{name}"))
    with pytest.raises(DataError, match=r"rows are read from \.jsonl"):
        list(read_rows("hf://datasets/org/set"))
