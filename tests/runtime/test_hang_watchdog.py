"""A hanging rank ends the run and is named; one that works for long does not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from torch.distributed import HashStore

from rlhf.runtime import hang_watchdog
from rlhf.runtime.hang_watchdog import (
    VARIABLE,
    Beat,
    Watchdog,
    find_hang,
    hang_seconds,
    judged_on,
)
from rlhf.runtime.process_activity import main_thread
from tests.errors import raises

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 4  # seconds; the default is 40
SCRIPT = """
import os
import signal
import subprocess
import sys
import threading
import time
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run

SECONDS = 12

def judge(behaviour):
    if behaviour == "sleeps":
        time.sleep(600)
    elif behaviour == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif behaviour == "locked":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif behaviour == "keeps the interpreter":
        import ctypes
        ctypes.PyDLL(None).sleep(600)
    elif behaviour == "computes":
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            pass
    elif behaviour == "computes in one call":
        import torch
        end = time.monotonic() + SECONDS
        numbers = torch.rand(1 << 22)
        while time.monotonic() < end:
            numbers.sort()
    elif behaviour == "computes and keeps the interpreter":
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            sum(range(1 << 27))
    elif behaviour == "has a program compute":
        code = f"import time\\nend = time.monotonic() + {SECONDS}\\nwhile time.monotonic() < end: 1"
        subprocess.run([sys.executable, "-c", code], check=True)
    elif behaviour == "asks again and again":
        for _ in range(SECONDS * 2):
            time.sleep(0.5)
    elif behaviour == "uploads":
        from rlhf.runtime.process_activity import excused
        with excused():
            time.sleep(SECONDS)

def main():
    what, rank = sys.argv[1], sys.argv[2]
    start_processes(1)
    from torch import distributed
    distributed.barrier()
    print(f"pid {os.getpid()}", flush=True)
    if what == "all wait":
        distributed.recv(__import__("torch").zeros(1), src=1 - distributed.get_rank())
    if what == "nobody waits":
        time.sleep(SECONDS)
    elif os.environ["RANK"] == rank:
        judge(what)
    distributed.barrier()
    print("done", flush=True)

run(main)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    config = (ROOT / "accelerate_config.yaml").read_text()
    (tmp_path / "accelerate_config.yaml").write_text(config)
    return tmp_path / "script.py"


def two_ranks(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`rlhf launch` of the script on two gloo processes."""
    command = [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2", str(script)]
    return subprocess.run(
        [*command, *words],
        env=os.environ | {VARIABLE: str(LIMIT)},
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
    )


NOTHING = "it has done nothing, in judge (script.py, line {}),"
HANGS = [
    ("sleeps", "1", NOTHING.format(15)),
    ("stopped", "0", "its process has been stopped"),
    *[
        pytest.param(*hang, marks=pytest.mark.slow)
        for hang in (
            ("sleeps", "0", NOTHING.format(15)),
            ("locked", "1", NOTHING.format(21)),
            ("stopped", "1", "its process has been stopped"),
            ("keeps the interpreter", "0", "it has not answered"),
            ("keeps the interpreter", "1", "it has not answered"),
        )
    ],
]


@pytest.mark.parametrize(("what", "rank", "why"), HANGS)
def test_hanging_rank_ends_the_run_and_is_named(script, what, rank, why):
    done = two_ranks(script, what, rank)
    message = f"script.py: rank {rank} hangs: for {LIMIT} s {why} while the others wait for it; "
    assert done.stderr.count(message) == 1, done.stderr
    assert "done" not in done.stdout
    killed = what in ("stopped", "keeps the interpreter")  # nothing else ends such a process
    assert done.returncode == (137 if killed else 1)
    assert re.search(rf"rlhf launch: rank {rank} (failed with|was killed by SIGKILL)", done.stderr)
    assert all(not Path("/proc", pid).exists() for pid in re.findall(r"pid (\d+)", done.stdout))


WORK = [
    "computes",
    *[
        pytest.param(what, marks=pytest.mark.slow)
        for what in (
            "computes in one call",
            "computes and keeps the interpreter",
            "has a program compute",
            "asks again and again",
            "uploads",
            "nobody waits",
        )
    ],
]


@pytest.mark.parametrize("what", WORK)
def test_rank_that_works_for_longer_is_waited_for(script, what):
    done = two_ranks(script, what, "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 2


@pytest.mark.slow
def test_ranks_that_wait_for_each_other_end_with_their_places(script):
    done = two_ranks(script, "all wait", "0")
    assert done.returncode == 1
    places = "every rank waits for another one for 4 s: rank 0 in recv (distributed_c10d.py, line"
    assert done.stderr.count(places) == 1, done.stderr


def test_computing_and_disk_wait_differ_from_sleep(tmp_path):
    """After vfork() the parent waits as for a disk until the child is done."""
    if shutil.which("gcc") is None or not Path("/proc/self/task").is_dir():
        pytest.skip("needs gcc and Linux")
    waits = "#include <unistd.h>\nint main(){if(!vfork()){sleep(20);_exit(0);}return 0;}"
    (tmp_path / "waits.c").write_text(waits)
    subprocess.run(["gcc", "-o", tmp_path / "waits", tmp_path / "waits.c"], check=True)
    computes = [sys.executable, "-c", "while True: pass"]
    for command, busy in (([tmp_path / "waits"], 1), (computes, 1), (["sleep", "20"], 0)):
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(1)
        assert main_thread(process.pid)[1] == busy
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def beat(state: str, host: str = "one") -> Beat:
    return Beat(7, host, 1, state, "judge (reward.py, line 3)")


def test_only_ranks_that_all_others_wait_for_hang():
    assert find_hang([beat("idle"), beat("works"), beat("waits")], {}, 40) is None
    assert find_hang([beat("idle"), beat("idle")], {}, 40) is None
    assert find_hang([beat("waits"), beat("blocked")], {}, 40) is None
    assert find_hang([beat("waits"), beat("works")], {0: "it has not answered"}, 40) is None
    one = find_hang([beat("waits"), beat("idle"), beat("blocked")], {}, 40)
    assert one is not None
    assert one.ranks == [1]
    two = find_hang([beat("waits"), beat("works"), beat("idle")], {1: "it has not answered"}, 40)
    assert two is not None
    assert two.ranks == [1, 2]
    assert two.message == (
        "rank 1 hangs: for 40 s it has not answered; rank 2 hangs: for 40 s it has done nothing, "
        "in judge (reward.py, line 3), while the others wait for it; if that is no hang, set "
        "RLHF_HANG_SECONDS to more than 40."
    )


def test_rank_on_another_machine_is_judged_by_its_neighbours():
    beats = [beat("waits", "one"), beat("works", "two"), beat("waits", "two")]
    assert judged_on("one", beats, {1: "silent"}) == {}
    assert judged_on("two", beats, {1: "silent"}) == {1: "silent"}
    whole_machine = {1: "silent", 2: "silent"}
    assert judged_on("one", beats, whole_machine) == whole_machine


def test_observations_from_before_a_suspension_do_not_count(monkeypatch):
    """Without that, a resumed process would take the others for silent."""
    monkeypatch.setattr(hang_watchdog, "_own_store", HashStore)
    watchdog = Watchdog(0, 2, limit=40)
    watchdog.store.set("1", json.dumps(asdict(beat("works", "another machine"))))
    watchdog._check()
    for seconds, forgotten in ((5, False), (100, True)):
        watchdog.now -= seconds
        watchdog.last_seen[1].since = watchdog.now
        watchdog._check()
        assert (watchdog.last_seen[1].since > watchdog.now - seconds / 2) == forgotten


@pytest.mark.parametrize("word", ["soon", "-1", "nan", "inf"])
def test_invalid_number_of_seconds_is_rejected(monkeypatch, word):
    monkeypatch.setenv(VARIABLE, word)
    with raises("bad-value", f"{VARIABLE}={word}"):
        hang_seconds()
