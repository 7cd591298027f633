"""python -m benchmarks.serving: `rlhf serve` beside `transformers serve`, on the same model.

    python -m benchmarks.serving --model data/pocket/model --clients 1 8 32

Each server runs alone, as a process of its own. N clients ask one prompt after another, streamed
and greedily, so that every server has the same answers to write; what is counted is answers and
characters a second from the first question to the last answer, and the server's own CPU time, which
says something on a machine with other work too. transformers is measured as it comes and with
--continuous-batching.
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

PATIENCE = 300.0  # seconds for a server to come up, or for an answer


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One server under N clients."""

    server: str
    clients: int
    answers: int
    characters: int  # of the answers
    seconds: float
    cpu_seconds: float  # of the server, all its threads and processes
    failed: int
    first: float  # median seconds to the first piece of an answer


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every server with every number of clients, and print a table."""
    given = _parser().parse_args(argv)
    prompts = _prompts(given.prompts, given.answers)
    model = str(Path(given.model).resolve())
    rows = []
    for name in given.servers:
        with running(name, model) as (address, process):
            asked = Path(model).name if name == "rlhf" else model
            ask_all = Clients(address, asked, given.max_tokens)
            asyncio.run(ask_all.run(prompts[:4], 2))  # compiled, warm
            for clients in given.clients:
                rows.append(_measure(name, ask_all, prompts, clients, process))
                print(_line(rows[-1]), flush=True)
    print()
    print(table(rows))
    return 0


class Clients:
    """Some that ask one server."""

    def __init__(self, address: str, model: str, max_tokens: int) -> None:
        self._address, self._model, self._max_tokens = address, model, max_tokens
        self.texts: list[str] = []
        self.firsts: list[float] = []
        self.failed = 0

    async def run(self, prompts: Sequence[str], clients: int) -> None:
        """Ask every prompt, `clients` at a time."""
        self.texts, self.firsts, self.failed = [], [], 0
        left = list(prompts)
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(timeout=PATIENCE, limits=limits) as http:
            await asyncio.gather(*(self._ask_on(http, left) for _ in range(clients)))

    async def _ask_on(self, http: httpx.AsyncClient, left: list[str]) -> None:
        while left:
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": left.pop()}],
                "temperature": 0,
                "max_tokens": self._max_tokens,
                "stream": True,
            }
            start, text = time.perf_counter(), ""
            async with http.stream(
                "POST", f"{self._address}/v1/chat/completions", json=body
            ) as answer:
                if answer.status_code != 200:
                    self.failed += 1
                    continue
                async for line in answer.aiter_lines():
                    piece = _piece(line)
                    if piece and not text:
                        self.firsts.append(time.perf_counter() - start)
                    text += piece
            self.texts.append(text)


def _piece(line: str) -> str:
    """The text that a server-sent event adds."""
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def _measure(
    name: str, ask_all: Clients, prompts: Sequence[str], clients: int, process: psutil.Process
) -> Measured:
    start, used = time.perf_counter(), _cpu_seconds(process)
    asyncio.run(ask_all.run(prompts, clients))
    seconds = time.perf_counter() - start
    firsts = sorted(ask_all.firsts) or [float("nan")]
    return Measured(
        server=name,
        clients=clients,
        answers=len(ask_all.texts),
        # Servers cut an answer into other pieces; its characters are the same.
        characters=sum(map(len, ask_all.texts)),
        seconds=seconds,
        cpu_seconds=_cpu_seconds(process) - used,
        failed=ask_all.failed,
        first=firsts[len(firsts) // 2],
    )


@contextmanager
def running(name: str, model: str) -> Iterator[tuple[str, psutil.Process]]:
    """The server as a process of its own: its address, and itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = Path(sys.executable)
    commands = {
        "rlhf": [str(python), "-m", "rlhf.cli", "serve", model, "--port", str(port)],
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
    with Path(os.devnull).open("w") as null:
        server = subprocess.Popen(commands[name], stdout=null, stderr=null)
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
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _wait(address: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit(f"{address} did not come up in {PATIENCE:.0f} seconds")


def table(rows: Sequence[Measured]) -> str:
    """Markdown: answers and characters a second, and how many times transformers' they are."""
    lines = [
        "| clients | server | answers/s | characters/s | first piece, s | CPU s/answer | failed |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(_line(row) for row in sorted(rows, key=lambda r: r.clients))])


def _line(row: Measured) -> str:
    used = row.cpu_seconds / max(1, row.answers)
    return (
        f"| {row.clients} | {row.server} | {row.answers / row.seconds:.1f} | "
        f"{row.characters / row.seconds:.0f} | {row.first:.3f} | {used:.4f} | {row.failed} |"
    )


def _prompts(file: str, count: int) -> list[str]:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    return [prompts[n % len(prompts)] for n in range(count)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="Throughput of rlhf serve beside transformers serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    servers = ("rlhf", "transformers", "transformers-cb")
    parser.add_argument("--model", default="data/pocket/model", help="Folder of the model.")
    parser.add_argument(
        "--prompts", default="data/pocket/prompts_heldout.jsonl", help="Rows with a prompt."
    )
    parser.add_argument("--answers", type=int, default=96, help="Questions of each measurement.")
    parser.add_argument("--max_tokens", type=int, default=48, help="Longest answer, in tokens.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], help="At a time.")
    parser.add_argument(
        "--servers", nargs="+", choices=servers, default=list(servers), help="What is measured."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
