"""python -m benchmarks.serving: `rlhf serve` and `transformers serve` on the same model.

    python -m benchmarks.serving --model data/pocket/model --clients 1 8 32

Only one server runs at a time, in its own process. N clients send one request after another.
Responses are streamed and greedy, so all servers generate the same ones. The benchmark counts
responses and characters per second from the first request to the last response, and the CPU time
of the server, which is meaningful on a busy machine too. transformers runs with its defaults and
with --continuous-batching.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.options import check_idle

TIMEOUT = 300.0  # seconds for a server to start, or for a response


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Measurements of one server with N clients."""

    server: str
    clients: int
    responses: int
    characters: int  # of all responses
    seconds: float
    cpu_seconds: float  # of the server, all its threads and processes
    failed: int
    first: float  # median seconds to the first chunk of a response


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every server with every number of clients and print a table."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    prompts = _prompts(options.prompts, options.answers)
    model = str(Path(options.model).resolve())
    rows = []
    for name in options.servers:
        with running(name, model) as (address, process):
            model_name = Path(model).name if name == "rlhf" else model
            load = LoadGenerator(address, model_name, options.max_tokens)
            asyncio.run(load.run(prompts[:4], 2))  # warm-up
            for clients in options.clients:
                rows.append(_measure(name, load, prompts, clients, process))
                print(_line(rows[-1]), flush=True)
    print()
    print(table(rows))
    return 0


class LoadGenerator:
    """Concurrent clients of one server."""

    def __init__(self, address: str, model: str, max_tokens: int) -> None:
        self._address, self._model, self._max_tokens = address, model, max_tokens
        self.responses: list[str] = []
        self.first_seconds: list[float] = []
        self.failed = 0

    async def run(self, prompts: Sequence[str], clients: int) -> None:
        """Send every prompt, with `clients` requests at a time."""
        self.responses, self.first_seconds, self.failed = [], [], 0
        remaining = list(prompts)
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits) as http:
            await asyncio.gather(*(self._send_requests(http, remaining) for _ in range(clients)))

    async def _send_requests(self, http: httpx.AsyncClient, remaining: list[str]) -> None:
        while remaining:
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": remaining.pop()}],
                "temperature": 0,
                "max_tokens": self._max_tokens,
                "stream": True,
            }
            start, text = time.perf_counter(), ""
            async with http.stream(
                "POST", f"{self._address}/v1/chat/completions", json=body
            ) as response:
                if response.status_code != 200:
                    self.failed += 1
                    continue
                async for line in response.aiter_lines():
                    piece = _piece(line)
                    if piece and not text:
                        self.first_seconds.append(time.perf_counter() - start)
                    text += piece
            self.responses.append(text)


def _piece(line: str) -> str:
    """The text in a server-sent event."""
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def _measure(
    name: str, load: LoadGenerator, prompts: Sequence[str], clients: int, process: psutil.Process
) -> Throughput:
    start, cpu_before = time.perf_counter(), _cpu_seconds(process)
    asyncio.run(load.run(prompts, clients))
    seconds = time.perf_counter() - start
    first_seconds = sorted(load.first_seconds) or [float("nan")]
    return Throughput(
        server=name,
        clients=clients,
        responses=len(load.responses),
        # Servers split a response into different chunks; the number of characters is the same.
        characters=sum(map(len, load.responses)),
        seconds=seconds,
        cpu_seconds=_cpu_seconds(process) - cpu_before,
        failed=load.failed,
        first=first_seconds[len(first_seconds) // 2],
    )


@contextmanager
def running(name: str, model: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run the server in its own process; yields its address and the process.

    `rlhf scores` serves a reward model alone.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = Path(sys.executable)
    serve = [str(python), "-m", "rlhf.cli", "serve", "--port", str(port)]
    commands = {
        "rlhf": [*serve, model],
        "rlhf scores": [*serve, "--reward_model", model],
        "transformers": [
            str(python.with_name("transformers")),
            "serve",
            model,
            "--port",
            str(port),
        ],
    }
    commands["transformers-cb"] = [*commands["transformers"], "--continuous-batching"]
    address = f"http://127.0.0.1:{port}"
    with Path(os.devnull).open("w") as devnull:
        server = subprocess.Popen(commands[name], stdout=devnull, stderr=devnull)
    try:
        _wait(address, server)
        yield address, psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _cpu_seconds(process: psutil.Process) -> float:
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return float(sum(member.user + member.system for member in times))


def _wait(address: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"the server exited with status {server.returncode}")
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit(f"{address} did not respond within {TIMEOUT:.0f} seconds")


def table(rows: Sequence[Throughput]) -> str:
    """Markdown: responses and characters per second and the other measurements of each server."""
    lines = [
        "| clients | server | responses/s | characters/s | first chunk, s | CPU s/response "
        "| failed |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(_line(row) for row in sorted(rows, key=lambda r: r.clients))])


def _line(row: Throughput) -> str:
    cpu_seconds = row.cpu_seconds / max(1, row.responses)
    return (
        f"| {row.clients} | {row.server} | {row.responses / row.seconds:.1f} | "
        f"{row.characters / row.seconds:.0f} | {row.first:.3f} | {cpu_seconds:.4f} | {row.failed} |"
    )


def _prompts(file: str, count: int) -> list[str]:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    return [prompts[n % len(prompts)] for n in range(count)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="Throughput of rlhf serve and transformers serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    servers = ("rlhf", "transformers", "transformers-cb")
    parser.add_argument("--model", default="data/pocket/model", help="Folder of the model.")
    parser.add_argument(
        "--prompts",
        default="data/pocket/prompts_heldout.jsonl",
        help="JSONL file of rows with a prompt.",
    )
    parser.add_argument("--answers", type=int, default=96, help="Requests per measurement.")
    parser.add_argument(
        "--max_tokens", type=int, default=48, help="Maximal length of a response in tokens."
    )
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 8, 32], help="Numbers of concurrent clients."
    )
    parser.add_argument(
        "--servers", nargs="+", choices=servers, default=list(servers), help="Servers to measure."
    )
    parser.add_argument("--busy", action="store_true", help="Measure on a busy machine too.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
