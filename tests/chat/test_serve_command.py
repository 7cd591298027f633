"""`rlhf serve` as a command: its start, its end and its options."""

import io
import json
import signal
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest
from rich.console import Console

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web import serve
from rlhf.chat.web.cli import main
from rlhf.chat.web.config import ChatServerConfig
from tests.chat.running_app import running_command
from tests.chat.scripted_model import make_scripted
from tests.errors import raises
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "A cat?"}]
BODY = {"model": "tiny", "messages": MESSAGES, "max_tokens": 2}


def test_command_serves_until_ctrl_c_without_creating_a_store(tmp_path_factory, tmp_path):
    folder = make_model(tmp_path_factory.mktemp("models") / "llama")
    command = [sys.executable, "-m", "rlhf.cli", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        output = ""
        while "API:" not in output:
            line = server.stderr.readline()
            assert line, f"ended after {output!r}"
            output += line
        assert "chat template: tokenizer; stops at 4 '<|eot_id|>'" in output
        address = output.split("base_url=")[1].split("/v1")[0]
        assert (
            httpx.post(
                f"{address}/v1/chat/completions",
                json={**BODY, "model": folder.name},
                timeout=240,
            ).status_code
            == 200
        )
        body = {**BODY, "model": folder.name, "stream": True}
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=240):
            server.send_signal(signal.SIGINT)
            assert server.wait(240) == 0
        assert "Traceback" not in server.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_command_sets_template_variables_of_all_requests(tmp_path, monkeypatch):
    """Qwen3's prompt then ends with an empty thought."""
    folder = make_scripted(tmp_path / "thinker")
    kwargs = {"enable_thinking": False}
    options = [str(folder), "--port", "0", "--chat_template_kwargs", json.dumps(kwargs)]
    tokenizer = load_chat_model(str(folder)).chat.tokenizer
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, **kwargs)
    monkeypatch.chdir(tmp_path)
    with running_command(monkeypatch, serve, options) as address:
        body = {"model": "model", "messages": MESSAGES, "max_tokens": 2}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=240)
    assert reply.json()["usage"]["prompt_tokens"] == len(prompt["input_ids"])


def test_public_server_prints_its_accepted_host_names():
    """The server binds 0.0.0.0, but no browser elsewhere requests that host."""
    output = io.StringIO()
    console = Console(file=output, width=200)
    public_config = ChatServerConfig(host="0.0.0.0", public=True, token="t" * 16)
    serve.announce(public_config, "http://0.0.0.0:8080", console)
    assert "page: http://0.0.0.0:8080/#tttttttttttttttt" in output.getvalue()
    names = "0.0.0.0, 127.0.0.1, [::1], localhost"
    assert (
        f"accepts requests for the hosts {names}; add others with --allowed_hosts"
        in output.getvalue()
    )
    output.truncate(0)
    serve.announce(
        replace(public_config, allowed_hosts=("chat.example",)), "http://0.0.0.0:8080", console
    )
    assert "--allowed_hosts" not in output.getvalue()


def test_missing_extra_is_named(tmp_path, monkeypatch):
    """As after `pip install rlhf`: the modules of the server are imported without fastapi."""
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for module in ("rlhf.chat.web.serve", "rlhf.chat.web.app"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with raises("missing-package", "fastapi", "rlhf[labels]"):
        main([str(tmp_path), "--port", "0"])


@pytest.mark.parametrize(
    ("options", "code", "fragment"),
    [
        (["--host", "0.0.0.0", "."], "not-allowed", "--public"),
        (["."], "not-a-model", "."),
        (["no-such-folder"], "missing-file", "no-such-folder"),
        ([".", "--chat_template_kwargs", "[]"], "bad-value", "chat_template_kwargs"),
        ([".", "--max_requests", "0"], "bad-value", "max_requests=0"),
    ],
)
def test_invalid_options_end_the_command(tmp_path, monkeypatch, options, code, fragment):
    monkeypatch.chdir(tmp_path)
    with raises(code, fragment):
        main([*options, "--port", "0"])
