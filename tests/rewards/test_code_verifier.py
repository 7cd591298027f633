"""`verifier:code`: programs that pass, fail, cheat, and meet each limit."""

import os
import socket
import sys
import time

import pytest

from rlhf.rewards.case import NoScore
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import load_reward
from rlhf.rewards.scorers import check_source
from rlhf.rewards.spec import RewardSpec
from rlhf.rewards.verifiers import sandbox
from rlhf.rewards.verifiers.code import Limits, program_of, run_program
from rlhf.types import PromptRow
from tests.errors import raises

TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"
LIMITS = Limits(seconds=5, memory_mb=256)
ALLOWED = CallOptions(run_code=True)


def _has_namespaces():
    if sys.platform != "linux":
        return False
    try:
        return run_program("", "", LIMITS)
    except NoScore:
        return False


needs_namespaces = pytest.mark.skipif(
    not _has_namespaces(), reason="needs Linux with user namespaces"
)


def test_program_is_the_last_fenced_block():
    text = "Try:\n```python\nx = 1\n```\nBetter:\n```py\nx = 2\ny = 3\n```\nDone."
    assert program_of(text) == "x = 2\ny = 3\n"
    assert program_of("x = 1") == "x = 1"


@needs_namespaces
def test_program_scores_one_where_its_tests_pass():
    responses = [
        "```python\ndef add(a, b):\n    return a + b\n```",
        "def add(a, b):\n    return a - b",
        "I cannot program.",
        "def add(a, b):\n    print('0' * 100)\n    return a + b",
    ]
    reward = load_reward("verifier:code", calls=ALLOWED)
    scores = reward.score(["p"] * 4, responses, [{"tests": TESTS}] * 4)
    assert scores.scores.tolist() == [1.0, 0.0, 0.0, 1.0]


@needs_namespaces
@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "def add(a, b):\n    import os\n    os._exit(0)",
        "print('token')",
        # Statuses and signals that would look like failures of the sandbox, which end a run.
        "import os; os._exit(1)",
        f"import os; os._exit({sandbox.NO_NAMESPACE})",
        "import os; os.kill(0, 9)",
        "import os; os.abort()",
    ],
)
def test_program_that_ends_before_its_tests_does_not_pass(program):
    assert not run_program(program, TESTS, LIMITS)


def test_program_that_the_machine_cannot_run_has_no_score(tmp_path, monkeypatch):
    """A 0 would be the score of a wrong program."""
    broken = tmp_path / "sandbox.py"
    broken.write_text("raise BlockingIOError('Resource temporarily unavailable')")
    monkeypatch.setattr(sandbox, "__file__", str(broken))
    with pytest.raises(NoScore, match="status 1; lower reward_concurrency"):
        run_program("def add(a, b): return a + b", TESTS, LIMITS)


@needs_namespaces
def test_time_is_limited():
    start = time.monotonic()
    assert not run_program("while True: pass", "", Limits(seconds=1, memory_mb=256))
    assert time.monotonic() - start < 9


@needs_namespaces
def test_memory_is_limited():
    assert run_program("x = bytearray(10 * 2**20)", "", LIMITS)
    assert not run_program("x = bytearray(400 * 2**20)", "", LIMITS)


@needs_namespaces
def test_program_has_no_network():
    """The server listens on this machine; outside of the sandbox it answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        exec(connect)
        assert not run_program(connect, "", LIMITS)


@needs_namespaces
def test_program_sees_no_other_process():
    kill = f"import os; os.kill({os.getpid()}, 0)"
    exec(kill)
    assert not run_program(kill, "", LIMITS)


@needs_namespaces
def test_program_does_not_get_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert run_program("import os; assert 'OPENAI_API_KEY' not in os.environ", "", LIMITS)


@needs_namespaces
def test_processes_of_a_program_end_with_it(tmp_path):
    """A child in a session of its own would write the file after two seconds."""
    file = tmp_path / "late"
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(2)\n"
        f"    open({str(file)!r}, 'w').close()\n"
        "    os._exit(0)\n"
    )
    assert run_program(program, "", LIMITS)
    time.sleep(3)
    assert not file.exists()


def test_programs_run_only_where_a_key_allows_it():
    rows = [PromptRow(prompt="p", columns={"tests": TESTS})]
    with raises("not-allowed", "verifier:code", "reward_run_code"):
        check_source(RewardSpec("verifier:code"), CallOptions(), None, rows)
    with raises("not-allowed", "reward_run_code"):
        load_reward("verifier:code")


@needs_namespaces
def test_row_without_tests_is_named():
    with raises("bad-reward", "tests", "row 1"):
        check_source(RewardSpec("verifier:code"), ALLOWED, None, [PromptRow(prompt="p")])
    with raises("bad-reward", "seconds=55", "reward_timeout=60"):
        check_source(RewardSpec("verifier:code?seconds=55"), ALLOWED, None, [])
    with raises("bad-reward", "memory_mb=1"):
        rows = [PromptRow(prompt="p", columns={"tests": ""})]
        check_source(RewardSpec("verifier:code?memory_mb=1"), ALLOWED, None, rows)
