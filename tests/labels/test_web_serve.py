"""`rlhf label serve` as a process: its links, its end, its configuration."""

import re
import signal
import subprocess
import sys

import httpx
import pytest

from rlhf.labels import cli
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.serve import page_address
from tests.errors import raises
from tests.labels.web_server import Client, candidates


def start(path, *options):
    command = [sys.executable, "-m", "rlhf.cli", "label", "serve", "--store", str(path)]
    server = subprocess.Popen(
        [*command, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = ""
    while "annotator ann" not in output:
        line = server.stdout.readline()
        assert line, output
        output += line
    return server, output


def log_in(output, name):
    address, token = re.search(rf"{name}: (\S+)/login#(\S+)", output).groups()
    return Client(address, token)


@pytest.fixture
def path(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates(candidates(2))
    return tmp_path / "labels.sqlite"


def test_server_stops_when_every_label_is_in(path):
    server, output = start(path, "--annotators", "ann", "--until", "all")
    ann = log_in(output, "annotator ann")
    item = ann.next()
    while item["claim"] is not None:  # the last reply has no item
        item = ann.submit(item, f"key-{item['claim']:08}").raise_for_status().json()
    assert server.wait(60) == 0
    with LabelStore(path) as store:
        assert len(store.labels()) == 2


def test_admin_stops_the_server_early(path):
    server, output = start(path, "--annotators", "ann", "--until", "100")
    ann = log_in(output, "annotator ann")
    ann.submit(ann.next(), "key-00000001").raise_for_status()
    log_in(output, "admin").post("/admin/finish", {}).raise_for_status()
    assert server.wait(60) == 0
    with LabelStore(path) as store:
        assert len(store.labels()) == 1


def test_ctrl_c_before_the_labels_are_in_is_an_interruption(path):
    """`rlhf align` waits for this command, and continues if its status is 0."""
    server, output = start(path, "--annotators", "ann", "--until", "100")
    log_in(output, "annotator ann")
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 130


def test_restart_keeps_links_and_sessions(path):
    """The same command prints no new link, which would revoke the old one and its sessions."""
    server, output = start(path, "--annotators", "ann")
    ann = log_in(output, "annotator ann")
    item = ann.next()
    server.terminate()
    server.wait(60)
    server, output = start(path, "--annotators", "ann")
    address = re.search(r"at (\S+)\n", output).group(1)
    ann.http.base_url, ann.http.headers["origin"] = address, address
    assert ann.next()["claim"] == item["claim"]
    assert "/login#" not in output
    assert "Ctrl-C stops the server." in output + server.stdout.readline()
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
    assert server.stdout.read() == ""


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"allowed_hosts": ["lab.example"]}, "http://lab.example:8000"),
        ({"allowed_hosts": ["lab.example"], "https": True}, "https://lab.example"),
    ],
)
def test_links_use_the_first_allowed_host(options, address):
    assert page_address(LabelServerConfig(store="x", **options), 8000) == address


def test_public_host_requires_the_public_option():
    with raises("not-allowed", "--public"):
        LabelServerConfig(store="x", host="0.0.0.0")
    assert LabelServerConfig(store="x", host="0.0.0.0", public=True).host == "0.0.0.0"
    with raises("bad-value", "until=soon"):
        LabelServerConfig(store="x", until="soon")


def test_missing_extra_is_named(tmp_path, monkeypatch):
    """As after `pip install rlhf`: the page's modules are imported without fastapi."""
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for module in ("rlhf.labels.serve_cli", "rlhf.labels.web.serve", "rlhf.labels.web.app"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with raises("missing-package", "fastapi", "rlhf[labels]"):
        cli.main(["serve", "--store", str(tmp_path / "labels.sqlite")])


def test_second_server_on_a_store_raises(tmp_path):
    path = tmp_path / "labels.sqlite"
    with (
        LabelStore(path, create=True) as store,
        LabelStore(path) as other,
        store.serving_lock(),
        raises("busy", "labels.sqlite"),
        other.serving_lock(),
    ):
        pass


def test_projects_are_served_by_one_process(path, tmp_path):
    """Its links open their projects; a second server on one of the stores raises."""
    (tmp_path / "guideline.md").write_text("Be fair.")
    (tmp_path / "pictures").mkdir()
    with LabelStore(tmp_path / "other.sqlite", create=True) as store:
        store.add("picture:none.png", ["a", "b"])
    projects = tmp_path / "projects.yaml"
    projects.write_text(
        "projects:\n"
        "  - {name: first, store: labels.sqlite, guideline: guideline.md}\n"
        "  - {name: second, store: other.sqlite, form: safety, pictures: pictures}\n"
    )
    command = [sys.executable, "-m", "rlhf.cli", "label", "serve", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--projects", str(projects)], stdout=subprocess.PIPE, text=True
    )
    output = ""
    while "all projects" not in output:
        line = server.stdout.readline()
        assert line, output
        output += line
    assert output.count("1 prompt with a picture") == 1
    assert "such as none.png" in output
    links = re.findall(r"admin: (\S+)/login#(\S+)", output)
    for (address, token), title in zip(links, ("first", "second"), strict=True):
        host = address.removesuffix(f"/p/{title}")
        page = httpx.post(f"{address}/login", json={"token": token}, headers={"origin": host})
        assert page.json() == {"to": f"/p/{title}/admin"}
    with LabelStore(path) as store:
        assert store.newest_guideline() == (1, "Be fair.")
        with raises("busy", "labels.sqlite"), store.serving_lock():
            pass
    server.terminate()
    server.wait(60)
