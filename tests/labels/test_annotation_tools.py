"""Argilla's records and Label Studio's tasks: import, export, and back."""

import json
from pathlib import Path

import pytest

from rlhf.data.convert import convert
from rlhf.labels.export import export
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore
from tests.errors import raises

ANN, BOB = "3fa85f64-5717-4562-b3fc-2c963f66afa6", "11111111-2222-3333-4444-555555555555"
FIELDS = {"prompt": "Who?", "response-1": "A cat.", "response-2": "A dog.", "response-3": "No."}
RECORD = {
    "id": "7",
    "fields": FIELDS,
    "metadata": {"topic": "animals", "strength": 3},
    "suggestions": {},
    "responses": {
        "quality": [
            {"value": ["response-2", "response-1", "response-3"], "user_id": ANN},
            {
                "value": [
                    {"value": "response-3", "rank": 1},
                    {"value": "response-1", "rank": 1},
                    {"value": "response-2", "rank": 3},
                ],
                "user_id": BOB,
            },
        ],
        "comment": [{"value": "Short.", "user_id": ANN}],
    },
    "vectors": {},
    "status": "completed",
}
TASK = {
    "id": 3,
    "data": {
        "prompt": "Who?",
        "items": [{"id": "x", "body": "A cat."}, {"id": "y", "title": "A dog."}],
        "topic": "animals",
    },
    "annotations": [
        {
            "completed_by": {"email": "ann@example.org"},
            "lead_time": 4.5,
            "result": [
                {"type": "ranker", "from_name": "rank", "value": {"ranker": {"rank": ["y", "x"]}}},
                {"type": "textarea", "from_name": "comment", "value": {"text": ["Short."]}},
            ],
        },
        {"completed_by": 5, "result": [{"type": "ranker", "value": {"ranker": ["x", "y"]}}]},
        {"completed_by": 6, "was_cancelled": True, "result": []},
    ],
}


def write(path: Path, *records: dict) -> str:
    path.write_text(json.dumps(list(records)))
    return str(path)


def labels_of(store: LabelStore) -> dict[str, tuple[list[int], dict]]:
    return {label.annotator: (list(label.ranks), dict(label.extra)) for label in store.labels()}


def test_records_of_argilla_bring_their_labels(tmp_path):
    """Two users ranked; the second with a tie. Metadata of a reserved name gets a prefix."""
    pending = {**RECORD, "id": "8", "fields": {**FIELDS, "prompt": "What?"}, "responses": {}}
    source = write(tmp_path / "a.json", RECORD, pending)
    with LabelStore(tmp_path / "s.sqlite", create=True) as store:
        result = import_file(store, source)
        assert (result.items, result.labels) == (2, 2)
        item = store.items()[0]
        assert (item.prompt, list(item.responses)) == ("Who?", ["A cat.", "A dog.", "No."])
        assert item.columns == {"topic": "animals", "metadata_strength": 3, "id": "7"}
        assert labels_of(store) == {
            ANN: ([2, 1, 3], {"comment": "Short."}),
            BOB: ([1, 3, 1], {}),
        }
        assert import_file(store, source).labels == 0


def test_choice_of_one_response_and_a_chat_as_prompt(tmp_path):
    chat = [{"role": "user", "content": "Who?"}]
    record = {
        "fields": {"chat": chat, "answer_a": "A cat.", "answer_b": "A dog."},
        "metadata": {},
        "responses": {"better": [{"value": "answer_b", "user_id": ANN}]},
    }
    conversion = convert(write(tmp_path / "a.json", record), "argilla")
    row = {"prompt": chat, "responses": ["A cat.", "A dog."], "ranks": [2, 1], "annotator": ANN}
    assert conversion.rows == [row]


def test_tasks_of_label_studio_bring_their_labels(tmp_path):
    with LabelStore(tmp_path / "s.sqlite", create=True) as store:
        result = import_file(store, write(tmp_path / "a.json", TASK))
        assert (result.items, result.labels) == (1, 2)
        assert store.items()[0].columns == {"topic": "animals"}
        assert labels_of(store) == {
            "ann@example.org": ([2, 1], {"comment": "Short."}),
            "5": ([1, 2], {}),
        }
        assert store.labels()[0].seconds == 4.5


def test_pair_of_label_studio(tmp_path):
    task = {
        "data": {"question": "Who?", "answer1": "A cat.", "answer2": "A dog."},
        "annotations": [{"result": [{"type": "pairwise", "value": {"selected": "right"}}]}],
    }
    [row] = convert(write(tmp_path / "a.json", task), "label_studio").rows
    assert row == {"prompt": "Who?", "responses": ["A cat.", "A dog."], "ranks": [2, 1]}


def test_records_without_a_ranking_are_counted(tmp_path):
    without = {**TASK, "annotations": []}
    conversion = convert(write(tmp_path / "a.json", TASK, without), "label_studio")
    assert len(conversion.rows) == 2
    assert conversion.left_out == {"record without a ranking": 1}


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ({**RECORD, "fields": {"prompt": "Who?", "response-1": "A"}, "responses": {}}, ["fewer"]),
        ({**RECORD, "fields": {**FIELDS, "prompt": 3}}, ["prompt"]),
        (
            {
                **RECORD,
                "responses": {"q": [{"value": ["response-1", "response-2"], "user_id": ANN}]},
            },
            ["response-1, response-2", "response-3"],
        ),
        (
            {
                **TASK,
                "annotations": [
                    {"result": [{"type": "ranker", "value": {"ranker": {"a": ["x"], "b": ["y"]}}}]}
                ],
            },
            ["buckets a, b"],
        ),
        (
            {
                **TASK,
                "annotations": [{"result": [{"type": "ranker", "value": {"ranker": ["x", "z"]}}]}],
            },
            ["x, z", "x, y"],
        ),
    ],
)
def test_record_that_cannot_be_used_is_a_bad_row(tmp_path, record, names):
    source = write(tmp_path / "a.json", record)
    with LabelStore(tmp_path / "s.sqlite", create=True) as store, raises("bad-row", *names):
        import_file(store, source)


@pytest.fixture
def store(tmp_path):
    candidate = Candidate(
        prompt=[{"role": "user", "content": "Who?"}],
        responses=["A cat.", "A dog.", "No."],
        models=["m", "n", "m"],
        columns={"topic": "animals", "more": {"a": 1}},
    )
    other = Candidate(prompt="What?", responses=["x", "y"])
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        first, _ = store.add_candidates([candidate, other])
        store.submit(Label(item_id=first, annotator=ANN, ranks=[2, 1, 3], seconds=4.0))
        store.submit(Label(item_id=first, annotator="Bob", ranks=[1, 1, 2]))
        yield store


@pytest.mark.parametrize("kind", ["argilla", "label_studio"])
def test_export_comes_back_without_its_tie(store, tmp_path, kind):
    """Bob's tie becomes an order, which is counted; the item without labels stays one."""
    exported = export(store, tmp_path / "x.json", kind)
    assert exported.left_out == {"ties that this format cannot express": 1}
    assert len(exported.rows) == 2
    with LabelStore(tmp_path / "back.sqlite", create=True) as back:
        import_file(back, str(tmp_path / "x.json"))
        ranks = [list(label.ranks) for label in back.labels()]
        assert ranks == [[2, 1, 3], [1, 2, 3]]
        assert [list(item.responses) for item in back.items()] == [
            ["A cat.", "A dog.", "No."],
            ["x", "y"],
        ]
        assert back.items()[0].columns["topic"] == "animals"
        assert list(back.items()[0].models) == (["m", "n", "m"] if kind == "argilla" else [])
        assert back.labels()[0].annotator == ANN
        assert len({label.annotator for label in back.labels()}) == 2


def test_records_have_the_keys_that_argilla_reads(store, tmp_path):
    export(store, tmp_path / "x.json", "argilla")
    record, other = json.loads((tmp_path / "x.json").read_text())
    assert record["fields"] == {
        "prompt": [{"role": "user", "content": "Who?"}],
        "response-1": "A cat.",
        "response-2": "A dog.",
        "response-3": "No.",
    }
    assert record["metadata"] == {
        "topic": "animals", "model-1": "m", "model-2": "n", "model-3": "m"
    }  # fmt: skip
    assert record["responses"]["ranking"][0] == {
        "value": ["response-2", "response-1", "response-3"],
        "user_id": ANN,
    }
    assert other["responses"] == {"ranking": []}


def test_tasks_have_the_keys_that_label_studio_reads(store, tmp_path):
    export(store, tmp_path / "x.json", "label_studio")
    task = json.loads((tmp_path / "x.json").read_text())[0]
    assert task["data"]["prompt"] == "user: Who?"
    assert task["data"]["items"][1] == {"id": "2", "title": "Response 2", "body": "A dog."}
    annotation = task["annotations"][0]
    assert annotation["completed_by"] == {"email": ANN}
    assert annotation["lead_time"] == 4.0
    assert annotation["result"][0]["value"] == {"ranker": {"rank": ["2", "1", "3"]}}


def test_gold_items_stay_in_the_store(store, tmp_path):
    count = len(store.items())
    store.add_gold([Candidate(prompt="g", responses=("a", "b"))], [(1, 2)])
    exported = export(store, tmp_path / "x.json", "label_studio")
    assert len(exported.rows) == count
    assert exported.left_out["gold items"] == 1


def test_other_file_names_are_rejected(store, tmp_path):
    with raises("unknown-format", ".json"):
        export(store, tmp_path / "x.csv", "argilla")
