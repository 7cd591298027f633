"""`rlhf label serve` as a process: its links work, it stops when it has enough, it refuses."""

import re
import subprocess
import sys

import pytest

from rlhf.errors import ConfigError
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.serve import address_of
from tests.labels.web_server import Person, pairs_and_more


def start(path, *words):
    command = [sys.executable, "-m", "rlhf.cli", "label", "serve", "--store", str(path)]
    server = subprocess.Popen(
        [*command, "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    while "annotator ann" not in said:
        line = server.stdout.readline()
        assert line, said
        said += line
    return server, said


def person(said, name):
    address, token = re.search(rf"{name}: (\S+)/login#(\S+)", said).groups()
    return Person(address, token)


@pytest.fixture
def path(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates(pairs_and_more(2))
    return tmp_path / "labels.sqlite"


def test_it_stops_by_itself_when_every_label_is_in(path):
    server, said = start(path, "--annotators", "ann", "--until", "all")
    ann = person(said, "annotator ann")
    item = ann.next()
    while item["claim"] is not None:  # the last answer says that nothing is left: no more asking
        item = ann.submit(item, f"key-{item['claim']:08}").raise_for_status().json()
    assert server.wait(60) == 0
    with LabelStore(path) as store:
        assert len(store.labels()) == 2


def test_the_researcher_ends_it_early(path):
    server, said = start(path, "--annotators", "ann", "--until", "100")
    ann = person(said, "annotator ann")
    ann.submit(ann.next(), "key-00000001").raise_for_status()
    person(said, "researcher").post("/admin/finish", {}).raise_for_status()
    assert server.wait(60) == 0
    with LabelStore(path) as store:
        assert len(store.labels()) == 1


def test_who_came_in_stays_in_over_a_restart(path):
    """The same command again prints no new link: that would end the old one and its sessions."""
    server, said = start(path, "--annotators", "ann")
    ann = person(said, "annotator ann")
    item = ann.next()
    server.terminate()
    server.wait(60)
    server, said = start(path, "--annotators", "ann")
    address = re.search(r"at (\S+)\n", said).group(1)
    ann.http.base_url, ann.http.headers["origin"] = address, address
    assert ann.next()["claim"] == item["claim"]
    assert "/login#" not in said
    server.terminate()
    server.wait(60)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"allowed_hosts": ["lab.example"]}, "http://lab.example:8000"),
        ({"allowed_hosts": ["lab.example"], "https": True}, "https://lab.example"),
    ],
)
def test_links_name_the_host_that_people_use(given, address):
    assert address_of(LabelServerConfig(store="x", **given), 8000) == address


def test_an_address_for_others_has_to_be_asked_for():
    with pytest.raises(ConfigError, match="--public"):
        LabelServerConfig(store="x", host="0.0.0.0")
    assert LabelServerConfig(store="x", host="0.0.0.0", public=True).host == "0.0.0.0"
    with pytest.raises(ConfigError, match="until"):
        LabelServerConfig(store="x", until="soon")


def test_second_server_on_a_store_raises(tmp_path):
    path = tmp_path / "labels.sqlite"
    with (
        LabelStore(path, create=True) as store,
        LabelStore(path) as other,
        store.served(),
        pytest.raises(ConfigError, match="another process"),
        other.served(),
    ):
        pass
