"""The vLLM engine: what it asks a server, and what it does with wrong answers and lost servers."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import psutil
import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import load_policy
from rlhf.rollouts import load
from rlhf.rollouts.config import RolloutConfig, check_rollouts
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.load import OPTIONS, load_engine
from rlhf.rollouts.responses import EngineResponse, as_generated
from rlhf.rollouts.server import Server, check_tokens, connected, server_command, started
from rlhf.rollouts.vllm import VLLMEngine, completion_request, read_completion
from rlhf.runtime import progress
from tests.errors import raises
from tests.rollouts.fake_chat_server import FakeChatServer
from tests.rollouts.test_engines import batch_of

SAMPLING = Sampling(
    max_new_tokens=4, temperature=0.5, eos_token_ids=(7, 9), pad_token_id=0, seed=1, iteration=1
)


@pytest.fixture
def serve_list():
    """Starts a server that answers to /v1/models, and to nothing else that vLLM has."""
    servers = []

    def make(listing, **keys):
        servers.append(FakeChatServer(listing=listing, **keys))
        servers[-1].address = servers[-1].address.removesuffix("/v1")
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def engine_of(server, folder, **keys):
    made = VLLMEngine(connected(server.address), folder, dtype=torch.float32, **keys)
    made.update_weights(load_policy(server.folder))
    return made


def loaded_engine(server, folder):
    """The engine of a run with this server."""
    return load_engine(
        RolloutConfig(rollout_engine="vllm", rollout_server=server.address),
        model="m", max_length=8, bf16=False, seed=0, folder=folder,
        cuda_graphs=False, copies=False, texts=[], ids=[],
    )  # fmt: skip


def test_request_leaves_nothing_to_the_server():
    """The settings of a model's generation_config would change the distribution."""
    asked = completion_request([5, 6], SAMPLING, model="policy", count=3, seed=11)
    assert asked == {
        "model": "policy", "prompt": [5, 6], "n": 3, "seed": 11, "max_tokens": 4,
        "temperature": 0.5, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "ignore_eos": True,
        "stop_token_ids": [7, 9], "logprobs": 0, "return_token_ids": True,
        "add_special_tokens": False,
    }  # fmt: skip


def test_responses_are_read_in_the_order_of_their_indices():
    choices = [
        {"index": 1, "token_ids": [3], "logprobs": {"token_logprobs": [-0.5]}},
        {"index": 0, "token_ids": [4, 7], "logprobs": {"token_logprobs": [-0.1, -0.2]}},
    ]
    rows = read_completion({"choices": choices}, "http://x", count=2)
    assert [list(row.ids) for row in rows] == [[4, 7], [3]]
    with raises("engine-mismatch", "http://x"):
        read_completion({"choices": choices}, "http://x", count=3)
    with raises("engine-mismatch", "token_ids"):
        read_completion({"choices": [{"index": 0}]}, "http://x", count=1)


@pytest.mark.parametrize(
    ("ids", "logprobs", "name"),
    [
        ([], [], "row 0"),
        ([1, 2, 3, 4, 5], [0.0] * 5, "4"),
        ([1, 7], [0.0], "1 log-probs"),
        ([7, 1, 2, 9], [0.0] * 4, "7"),
        ([1, 2], [0.0] * 2, "end token"),
    ],
)
def test_unusable_responses_end_the_run(ids, logprobs, name):
    row = EngineResponse(ids=ids, logprobs=logprobs)
    with raises("engine-mismatch", name):
        as_generated([row], SAMPLING, engine="vllm", device=torch.device("cpu"))


def test_responses_become_padded_tensors():
    rows = [EngineResponse(ids=[1, 9], logprobs=[-1.0, -2.0]),
            EngineResponse(ids=[1, 2, 3, 4], logprobs=[-3.0] * 4)]  # fmt: skip
    made = as_generated(rows, SAMPLING, engine="vllm", device=torch.device("cpu"))
    assert made.response_ids.tolist() == [[1, 9, 0, 0], [1, 2, 3, 4]]
    assert made.response_mask.sum(1).tolist() == [2, 4]
    assert made.logprobs.tolist() == [[-1.0, -2.0, 0.0, 0.0], [-3.0] * 4]
    assert made.ended_with_eos.tolist() == [True, False]


def test_new_weights_are_loaded_and_cached_prompts_forgotten(make_server, tmp_path):
    server = make_server()
    engine = engine_of(server, tmp_path / "weights")
    assert server.asked == ["/v1/models", "/collective_rpc", "/reset_prefix_cache"]
    assert not list((tmp_path / "weights").iterdir())
    engine.close()
    assert not (tmp_path / "weights").exists()


def test_sleeping_server_wakes_up_for_new_weights_and_responses(make_server, tmp_path):
    """Held-out prompts and the next iteration may have the same weights."""
    server = make_server()
    engine = engine_of(server, tmp_path / "weights", sleeps=True)
    chat = load_tokenizer(str(server.folder))
    engine.generate(batch_of(chat), SAMPLING)
    assert server.asked[-1] == "/sleep?level=1"
    count = len(server.asked)
    engine.generate(batch_of(chat), SAMPLING)
    assert server.asked[count] == "/wake_up"
    assert server.asked[-1] == "/sleep?level=1"
    engine.update_weights(load_policy(server.folder))
    assert server.asked[-3:] == ["/wake_up", "/collective_rpc", "/reset_prefix_cache"]


def test_server_without_its_development_mode_is_named(make_server, tmp_path):
    server = make_server(missing=("/collective_rpc",))
    with raises("unsupported", server.address, "VLLM_SERVER_DEV_MODE=1"):
        engine_of(server, tmp_path)


def test_server_lost_in_an_iteration_ends_the_run(make_server, tmp_path):
    server = make_server(die_after=1)
    engine = engine_of(server, tmp_path)
    with raises("engine-lost", server.address):
        engine.generate(batch_of(load_tokenizer(str(server.folder))), SAMPLING)


def test_slow_server_is_waited_for_with_progress_shown(make_server, tmp_path, monkeypatch, capsys):
    """One prompt after the other; a line every 0.1 s in place of 15 s, before the first one too."""
    open_address, timeouts = urllib.request.urlopen, []

    def opened(asked, timeout):
        if asked.full_url.endswith("/v1/completions"):
            timeouts.append(timeout)
        return open_address(asked, timeout=timeout)

    server = make_server(delay=0.2)
    engine, chat = engine_of(server, tmp_path), load_tokenizer(str(server.folder))
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setattr(progress, "SECONDS", 0.1)
    engine.generate(batch_of(chat), SAMPLING)
    assert timeouts == [None] * 3
    lines = capsys.readouterr().out.splitlines()
    counts = [int(re.search(r"rollout server: (\d) of 9", line)[1]) for line in lines]
    assert counts == sorted(counts)
    assert {0, 3, 6} <= set(counts) <= {0, 3, 6, 9}


def test_slow_reload_is_shown(make_server, tmp_path, monkeypatch, capsys):
    server = make_server()
    answer = server.answer

    def slow(path, content):
        time.sleep(0.3 if path == "/collective_rpc" else 0)
        return answer(path, content)

    server.answer = slow
    monkeypatch.setattr(progress, "SECONDS", 0.1)
    engine_of(server, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "waiting for the rollout server to reload weights: 0 s"


def test_address_without_a_server_is_named():
    """With the advice of a run that has not begun alone."""
    with raises("engine-lost", "http://127.0.0.1:9", "start vLLM") as caught:
        connected("http://127.0.0.1:9")
    assert "repeat" not in str(caught.value)


def test_server_is_known_by_its_first_model(serve_list):
    """A slash at the end would make //v1/completions, which vLLM does not have."""
    server = serve_list({"data": [{"id": "a", "root": "runs/a", "max_model_len": 96}, {"id": "b"}]})
    made = connected(f"{server.address}/")
    assert (made.address, made.model) == (server.address, "a")
    assert (made.root, made.max_length) == ("runs/a", 96)


@pytest.mark.parametrize("answer", [{"data": []}, {"data": [{}]}, {"data": 3}, [], "hello"])
def test_server_without_models_is_named(serve_list, answer):
    with raises("engine-lost", (address := serve_list(answer).address), "list of models"):
        connected(address)


def test_server_with_a_key_is_named(serve_list):
    with raises("engine-lost", (address := serve_list({}, list_status=401).address), "--api-key"):
        connected(address)


def test_server_with_another_tokenizer_is_named(make_server):
    server = connected(make_server().address)
    chat = load_tokenizer(str(make_server().folder))
    ids = chat.tokenizer("Name a cat.", add_special_tokens=False)["input_ids"]
    check_tokens(server, ["Name a cat."], [ids])
    with raises("tokenizer-mismatch", "Name a cat."):
        check_tokens(server, ["Name a cat."], [[*ids, 1]])


def test_command_of_a_started_server():
    config = RolloutConfig(rollout_engine="vllm", rollout_python="/env/python")
    words = server_command(
        config, model="m", max_length=96, bf16=True, seed=5, port=81, options=OPTIONS
    )
    assert words[:3] == ["/env/python", "-m", "vllm.entrypoints.openai.api_server"]
    options = dict(zip(words[3::2], words[4::2], strict=False))
    assert options["--model"] == "m"
    assert options["--dtype"] == "bfloat16"
    assert options["--max-model-len"] == "96"
    assert options["--logprobs-mode"] == "processed_logprobs"
    assert options["--generation-config"] == "vllm"


def test_server_that_does_not_start_is_shown_with_its_log(tmp_path):
    config = RolloutConfig(rollout_engine="vllm", rollout_python="/bin/false")
    server = started(
        config, model="m", max_length=8, bf16=False, seed=0, log=tmp_path / "server.log",
        options=OPTIONS,
    )  # fmt: skip
    from rlhf.rollouts.server import wait_until_ready

    with raises("engine-lost", "server.log", "rollout_python"):
        wait_until_ready(server)


@pytest.mark.parametrize("sleeps", [False, True])
def test_started_server_can_free_its_memory_if_it_is_to(tmp_path, sleeps):
    """In place of Python the server is started by echo, so that its log has its arguments."""
    config = RolloutConfig(rollout_engine="vllm", rollout_python="/bin/echo")
    with raises("engine-lost", "processed_logprobs") as caught:
        load_engine(
            config, model="m", max_length=8, bf16=False, seed=0, folder=tmp_path,
            cuda_graphs=False, copies=False, texts=[], ids=[], sleeps=sleeps,
        )  # fmt: skip
    assert ("--enable-sleep-mode" in str(caught.value)) == sleeps


def test_server_ends_with_the_process_that_started_it(tmp_path):
    """Even if that is killed: a server would keep the GPU's memory."""
    program = "import time; time.sleep(60)"
    needs = subprocess.Popen([sys.executable, "-c", program])
    guard = subprocess.Popen(
        [sys.executable, "-m", "rlhf.rollouts.guard", str(needs.pid), sys.executable, "-c", program]
    )
    deadline = time.monotonic() + 20
    while not (children := psutil.Process(guard.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    needs.kill()
    needs.wait()
    assert guard.wait(20) == 1
    assert not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE


def test_engine_of_a_killed_server_ends(tmp_path):
    """vLLM computes in a process of its own, which goes on, with the memory, if the server dies."""
    program = (
        "import os, signal, subprocess, sys\n"
        "engine = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(engine.pid))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-m", "rlhf.rollouts.guard", str(os.getpid())]
    guard = subprocess.Popen([*command, sys.executable, "-c", program])
    assert guard.wait(30) != 0
    engine = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 20
    while psutil.pid_exists(engine) and psutil.Process(engine).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_weights_of_a_killed_run_are_deleted(make_server, tmp_path, monkeypatch):
    """Those of a run that goes on, and of another program, are not."""
    monkeypatch.setattr(load, "MEMORY", tmp_path)
    killed, other = tmp_path / "rlhf-rollouts-killed", tmp_path / "rlhf-rollouts-other"
    other.mkdir()
    killed.mkdir()
    program = (
        "import pathlib, sys, time; from rlhf.runtime.run_lock import hold\n"
        f"hold(pathlib.Path({str(killed)!r})); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as run:
        run.stdout.readline()
        one = loaded_engine(make_server(), tmp_path)
        assert killed.exists()
        run.kill()
    two = loaded_engine(make_server(), tmp_path)
    assert {*tmp_path.iterdir()} == {one.folder, two.folder, other}
    one.close(), two.close()
    assert [*tmp_path.iterdir()] == [other]


def test_ended_server_is_reported_with_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\nout of memory\n")
    server = Server(address="http://x", model="m", log=log)
    server.check_alive()  # not started here
    server.process = SimpleNamespace(poll=lambda: 3, returncode=3)
    with raises("engine-lost", "out of memory", "3"):
        server.check_alive()


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"rollout_server": "http://x"}, "key-conflict", "rollout_server"),
        ({"rollout_engine": "transformers", "rollout_python": "p"}, "key-conflict", "python"),
        (
            {"rollout_engine": "vllm", "rollout_server": "http://x", "rollout_python": "p"},
            "key-conflict",
            "rollout_python",
        ),
        ({"rollout_engine": "vllm", "rollout_server": "x:8000"}, "bad-value", "x:8000"),
        (
            {"rollout_engine": "vllm", "rollout_server": "http://x:8000/v1/"},
            "bad-value",
            "leave /v1 out: http://x:8000.",
        ),
        ({"rollout_engine": "vllm", "rollout_memory_fraction": 1.5}, "bad-value", "1.5"),
        ({"rollout_engine": "vllm", "rollout_tensor_parallel": 0}, "bad-value", "0"),
    ],
)
def test_keys_that_do_not_go_together(keys, code, name):
    with raises(code, name):
        check_rollouts(RolloutConfig(**keys))
