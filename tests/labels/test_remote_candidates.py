"""`rlhf sample --server`: requests, authors in turn, busy and wrong servers."""

import json

import pytest

from rlhf import cli
from rlhf.labels.remote_candidates import sample_from_server
from rlhf.rollouts import chat_server
from tests.errors import raises
from tests.rollouts.fake_chat_server import FakeChatServer


@pytest.fixture
def serve():
    servers = []

    def make(**keys):
        servers.append(FakeChatServer(**keys))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = [{"prompt": "Who?", "topic": "a"}, {"prompt": chat}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_responses_are_divided_among_the_models(serve, prompts, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = serve()
    one, two = sample_from_server(
        server.address, ["x", "y"], prompts, num_responses=3, max_new_tokens=9, temperature=0.5
    )
    assert one.responses == ["x: Who?", "y: Who?", "x: Who?"]
    assert one.models == ["x", "y", "x"]
    assert one.columns == {"topic": "a"}
    assert two.responses[0] == "x: Why?"
    keys = {key for key, _ in server.asked}
    assert keys == {"Bearer secret"}
    requests = [content for _, content in server.asked]
    assert {(c["max_tokens"], c["temperature"]) for c in requests} == {(9, 0.5)}
    assert len({c["seed"] for c in requests}) == 6
    assert {len(c["messages"]) for c in requests} == {1, 2}


def test_busy_server_is_asked_again(serve, prompts, monkeypatch):
    monkeypatch.setattr(chat_server.time, "sleep", lambda seconds: None)
    server = serve(statuses=[503, 429])
    rows = sample_from_server(server.address, [], prompts, num_responses=1, max_new_tokens=9)
    assert rows[0].responses == ["first: Who?"]
    assert len(server.asked) == 4


def test_wrong_servers_are_named(serve, prompts):
    keys = {"num_responses": 1, "max_new_tokens": 9}
    rejecting = serve(statuses=[401] * 9)
    with raises("engine-lost", rejecting.address, "401"):
        sample_from_server(rejecting.address, ["x"], prompts, **keys)
    other = serve(answer={"text": "hello"})
    with raises("engine-mismatch", other.address):
        sample_from_server(other.address, ["x"], prompts, **keys)
    for names in ([], ["x"]):
        with raises("engine-lost", "http://127.0.0.1:9/v1"):
            sample_from_server("http://127.0.0.1:9/v1", names, prompts, **keys)
    with raises("unknown-name", "'z'", "first"):
        sample_from_server(other.address, ["z"], prompts, **keys)
    with raises("bad-value", "server=127.0.0.1:9"):
        sample_from_server("127.0.0.1:9", ["x"], prompts, **keys)
    with raises("key-conflict", "num_responses=1"):
        sample_from_server(other.address, ["x", "y"], prompts, **keys)
    with raises("key-conflict", "num_responses=0"):
        sample_from_server(other.address, [], prompts, **keys | {"num_responses": 0})


def test_command_writes_candidates(serve, prompts, tmp_path):
    output = tmp_path / "candidates.jsonl"
    words = ["sample", "--server", serve().address, "--prompts", prompts, "--num_responses", "2"]
    assert cli.run_command([*words, "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[0]["responses"] == ["first: Who?"] * 2
    assert rows[0]["models"] == ["first"] * 2


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        ([], "missing-key", "--model"),
        (["--server", "x", "--chat_template", "none"], "key-conflict", "--chat_template"),
        (["--server", "x", "--bf16", "false"], "key-conflict", "--bf16"),
    ],
)
def test_options_that_do_not_go_together(prompts, tmp_path, words, code, name):
    output = str(tmp_path / "out.jsonl")
    with raises(code, name):
        cli.run_command(["sample", "--prompts", prompts, "--output", output, *words])


def test_responses_of_a_lost_server_are_kept(serve, prompts, tmp_path):
    """The fourth of four requests is rejected; the next call sends that one alone."""
    keys = {"num_responses": 2, "max_new_tokens": 9, "journal_file": tmp_path / "j"}
    server = serve(statuses=[200, 200, 200, 401])
    with raises("engine-lost", "401"):
        sample_from_server(server.address, ["x"], prompts, **keys)
    rows = sample_from_server(server.address, ["x"], prompts, **keys)
    assert [row.responses for row in rows] == [["x: Who?"] * 2, ["x: Why?"] * 2]
    assert len(server.asked) == 5
