"""A study on a crowd platform: names, links and options."""

import contextlib
import subprocess
import sys

import pytest

from rlhf.labels import cli
from rlhf.labels.crowd import (
    CrowdConfig,
    Participants,
    PlatformIds,
    study_link,
)
from tests.errors import raises
from tests.labels.crowd_study import PID, PROLIFIC, SESSION, STUDY
from tests.labels.web_server import candidates


def test_names_do_not_depend_on_the_ids(tmp_path):
    """The same person has another name in another study, so that studies cannot be joined."""
    ids = PlatformIds(person=PID, study=STUDY, session=SESSION)
    names = set()
    for file in ("a", "b"):
        with contextlib.closing(Participants(tmp_path / file)) as participants:
            assert not participants.knows("prolific", ids)
            name = participants.enter("prolific", ids)
            assert participants.knows("prolific", ids)
            assert participants.enter("prolific", ids) == name
            assert participants.enter("mturk", ids) != name
            names.add(name)
    assert len(names) == 2


def test_link_for_the_platform_has_its_placeholders():
    assert study_link(PROLIFIC, "https://x.example") == (
        "https://x.example/crowd?PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}"
        "&SESSION_ID={{%SESSION_ID%}}"
    )
    mturk = CrowdConfig(platform="mturk", completion_code="x")
    assert study_link(mturk, "https://x.example") == (
        "https://x.example/crowd?workerId={workerId}&hitId={hitId}&assignmentId={assignmentId}"
    )


@pytest.mark.parametrize(
    ("options", "code", "fragment"),
    [
        (["--crowd", "prolific"], "missing-key", "--completion_code"),
        (["--completion_code", "x"], "key-conflict", "--crowd"),
        (["--labels_per_person", "3"], "key-conflict", "--crowd"),
        (["--crowd", "mturk", "--completion_code", "a b"], "bad-value", "a b"),
        (
            ["--crowd", "mturk", "--completion_code", "ab", "--labels_per_person", "0"],
            "bad-value",
            "labels_per_person",
        ),
    ],
)
def test_options_of_a_study_that_do_not_fit_are_rejected(tmp_path, options, code, fragment):
    with raises(code, fragment):
        cli.main(["serve", "--store", str(tmp_path / "labels.sqlite"), *options])
    assert list(tmp_path.iterdir()) == []


def test_participants_need_a_study(tmp_path, sqlite_store):
    store = str(tmp_path / "labels.sqlite")
    with raises("missing-file", "labels.participants.sqlite"):
        cli.main(["participants", "--store", store, "--output", str(tmp_path / "x.csv")])
    (tmp_path / "labels.participants.sqlite").write_text("no database, but a text of some length")
    with raises("bad-store", "labels.participants.sqlite"):
        cli.main(["participants", "--store", store, "--output", str(tmp_path / "x.csv")])


def test_command_prints_the_link_for_the_platform(tmp_path, sqlite_store):
    sqlite_store.add_candidates(candidates(1))
    command = [sys.executable, "-m", "rlhf.cli", "label", "serve", "--port", "0"]
    command += ["--store", str(tmp_path / "labels.sqlite")]
    command += ["--crowd", "prolific", "--completion_code", "C1A2B3C4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        lines = [server.stdout.readline() for _ in range(4)]
        server.terminate()
    assert "/crowd?PROLIFIC_PID={{%PROLIFIC_PID%}}" in lines[2]
    assert "labels.participants.sqlite" in lines[3]
