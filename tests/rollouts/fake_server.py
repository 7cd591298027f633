"""A server with vLLM's addresses that samples by rlhf's decoder, right or deliberately wrong."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation.generate import generate, prompt_batch
from rlhf.models.load import load_policy


class Listener(ThreadingHTTPServer):
    request_queue_size = 256  # connections that wait, as a real server has them


@dataclass
class FakeServer:
    """The model it serves, what it does wrong, and what it was asked."""

    folder: Path
    temperature_error: float = 0.0
    stale: bool = False  # it serves the weights before the last ones
    deaf: bool = False  # it ignores new weights
    delay: float = 0.0  # seconds before responses
    die_after: int | None = None  # requests for responses
    missing: tuple[str, ...] = ()  # addresses that it does not have
    seconds: float = 0.0  # between two events of a stream
    break_after: int | None = None  # events of a stream
    broken_off: int = 0  # streams that their clients left
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        self.model = self.next_model = load_policy(self.folder).eval()
        self.chat = load_tokenizer(str(self.folder))
        self.http = Listener(("127.0.0.1", 0), _handler(self))
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path, content):
        self.asked.append(path)
        if path in self.missing:
            return 404, {"detail": "Not Found"}
        if path == "/v1/models":
            return 200, {"data": [{"id": "served", "root": "runs/served", "max_model_len": 256}]}
        if path == "/tokenize":
            ids = self.chat.tokenizer(content["prompt"], add_special_tokens=False)["input_ids"]
            return 200, {"tokens": ids}
        if path == "/collective_rpc":
            assert content["method"] == "reload_weights"
            if self.deaf:
                return 200, {}
            loaded = load_policy(content["kwargs"]["weights_path"]).eval()
            self.model, self.next_model = (self.next_model if self.stale else loaded), loaded
        if path == "/v1/completions":
            if self.die_after is not None:
                self.die_after -= 1
                if self.die_after < 0:
                    raise ConnectionAbortedError
            if content.get("prompt_logprobs") is not None:
                return 200, self.prompt_logprobs(content)
            if "n" in content:
                time.sleep(self.delay)
                return 200, self.complete(content)
            return 200, self.events(content) if content.get("stream") else self.next_token(content)
        return 200, {}

    @torch.no_grad()
    def logprobs(self, ids):
        """Float [T, V] at temperature 1: after each of the ids."""
        return self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)

    def prompt_logprobs(self, content):
        ids, most = content["prompt"], content["prompt_logprobs"]
        positions = [None]
        for row, token in zip(self.logprobs(ids), ids[1:], strict=False):
            tokens = dict.fromkeys([token, *row.topk(most).indices.tolist()])
            positions.append(
                {
                    str(each): {
                        "logprob": float(row[each]),
                        "rank": int((row > row[each]).sum()) + 1,
                    }
                    for each in tokens
                }
            )
        return {"choices": [{"index": 0, "prompt_logprobs": positions}]}

    def next_token(self, content):
        top = top_of(self.logprobs(content["prompt"])[-1], content["logprobs"])
        return {"choices": [{"index": 0, "logprobs": {"top_logprobs": [top]}}]}

    def events(self, content):
        """Events of one token, then two, then one, …; the last one has the reason of the end."""
        [choice] = self.complete(content | {"n": 1})["choices"]
        prompt, ids = content["prompt"], choice["token_ids"]
        rows = self.logprobs([*prompt, *ids])[len(prompt) - 1 :]
        ended = ids[-1] in content["stop_token_ids"]
        events, start = [], 0
        while start < len(ids):
            end = min(start + 1 + len(events) % 2, len(ids))
            part = range(start, end)
            logprobs = {
                "token_logprobs": [float(rows[t][ids[t]]) for t in part],
                "top_logprobs": [top_of(rows[t], content["logprobs"], ids[t]) for t in part],
            }
            reason = None if end < len(ids) else "stop" if ended else "length"
            part_of = {"index": 0, "token_ids": ids[start:end], "finish_reason": reason}
            events.append({"choices": [part_of | {"logprobs": logprobs}]})
            start = end
        return events

    def complete(self, content):
        batch = prompt_batch(
            [content["prompt"]], ["a prompt"], prompt_indices=[0], num_responses=content["n"],
            pad_token_id=0, device=torch.device("cpu"),
        )  # fmt: skip
        temperature = content["temperature"]
        generated = generate(
            self.model,
            batch,
            max_new_tokens=content["max_tokens"],
            temperature=temperature + self.temperature_error if temperature else 0.0,
            eos_token_ids=content["stop_token_ids"],
            pad_token_id=0,
            seed=content["seed"],
            iteration=0,
        )
        choices = []
        for index, mask in enumerate(generated.response_mask):
            ids = generated.response_ids[index][mask].tolist()
            logprobs = generated.logprobs[index][mask].tolist()
            choices.append(
                {"index": index, "token_ids": ids, "logprobs": {"token_logprobs": logprobs}}
            )
        return {"choices": choices[::-1]}


def top_of(row, most, sampled=None):
    """The likeliest tokens, and the sampled one, as `return_tokens_as_token_ids` names them."""
    tokens = row.topk(most).indices.tolist() if most else []
    tokens = dict.fromkeys([*([] if sampled is None else [sampled]), *tokens])
    return {f"token_id:{each}": float(row[each]) for each in tokens}


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, content):
            with server.lock:
                try:
                    status, answer = server.answer(self.path, content)
                except ConnectionAbortedError:
                    self.connection.close()
                    return
            if isinstance(answer, list):
                self._stream(answer)
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _stream(self, events):
            self.send_response(200)
            self.end_headers()
            try:
                for number, event in enumerate(events):
                    if number == server.break_after:
                        return
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                    time.sleep(server.seconds)
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                server.broken_off += 1

        def log_message(self, *words):
            pass

    return Handler
