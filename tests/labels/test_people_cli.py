"""`rlhf label invite` and `people`: roles, tags and links from the command line."""

import pytest

from rlhf.cli import run_command
from rlhf.labels.access import log_in
from rlhf.labels.people import everyone
from rlhf.labels.store import LabelStore
from tests.errors import raises


@pytest.fixture
def run(tmp_path, capsys):
    """Runs `rlhf label WORDS` on a new store; returns the output."""
    location = tmp_path / "labels.sqlite"
    LabelStore(location, create=True).close()

    def run_words(command, *words):
        run_command(["label", command, "--store", str(location), *words])
        return capsys.readouterr().out

    run_words.location = location
    return run_words


def everybody(run):
    with LabelStore(run.location) as store, store.read() as connection:
        return {one.name: (one.role, one.tags, one.has_access) for one in everyone(connection)}


def test_people_are_invited_changed_listed_and_revoked(run):
    token = run("invite", "Ann", "Rita", "--role", "researcher").split("#")[1].split()[0]
    run("people", "Ann", "--role", "adjudicator", "--tags", "de", "maths")
    assert everybody(run) == {
        "Ann": ("adjudicator", ("de", "maths"), True),
        "Rita": ("researcher", (), True),
    }
    with LabelStore(run.location) as store:
        assert log_in(store, token)[1].role == "adjudicator"  # a new role keeps the link
    output = run("people")
    assert "Rita" in output
    assert "de, maths" in output
    assert "Rita" not in run("people", "Ann", "--revoke")
    assert everybody(run)["Ann"] == ("adjudicator", ("de", "maths"), False)
    with LabelStore(run.location) as store:
        assert log_in(store, token) is None


def test_labels_of_people_are_limited(run):
    def caps():
        with LabelStore(run.location) as store, store.read() as connection:
            return {one.name: one.cap for one in everyone(connection)}

    run("invite", "Ann", "Bob", "--cap", "50")
    run("people", "Bob", "--cap", "0")
    assert caps() == {"Ann": 50, "Bob": 0}
    run("people", "Bob", "--role", "annotator")
    assert caps()["Bob"] == 0
    run("people", "Bob", "--cap", "none")
    assert caps()["Bob"] is None
    for unusable in ("-1", "1.5", "10000001", "9" * 5000):
        with raises("bad-value", f"cap={unusable}"):
            run("people", "Bob", f"--cap={unusable}")


def test_unknown_person_or_role_changes_nothing(run):
    token = run("invite", "Ann").split("#")[1].split()[0]
    with raises("unknown-name", "Bob"):
        run("people", "Ann", "Bob", "--role", "admin")
    assert everybody(run) == {"Ann": ("annotator", (), True)}
    with raises("bad-value", "tag"):
        run("invite", "Ann", "Bob", "--tags", " ")
    with raises("bad-value", "' Bob'"):
        run("invite", "Ann", " Bob")
    with raises("bad-value", "tag"):
        run("people", "Bob", "--add", "--tags", " ")
    assert everybody(run) == {"Ann": ("annotator", (), True)}
    with LabelStore(run.location) as store:
        assert log_in(store, token)[1].name == "Ann"  # the old link
    with raises("missing-key", "people"):
        run("people", "--role", "admin")
    with raises("bad-value", "boss"):
        run("people", "Ann", "--role", "boss")
