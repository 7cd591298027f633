"""Sources that are called: together, with timeouts, retries, a cache, and a count of each."""

import asyncio
import sqlite3
import threading

import pytest

from rlhf.rewards.cache import ScoreCache, cache_key
from rlhf.rewards.case import Case
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import load_reward
from tests.errors import raises

PROMPTS = [f"prompt {number}" for number in range(8)]
RESPONSES = ["a" * number for number in range(8)]
LENGTHS = [float(number) for number in range(8)]

pytestmark = pytest.mark.usefixtures("no_wait")


def counts_of(reward):
    [counts] = reward.counts.take().values()
    return counts


def test_async_function_is_called_for_each_response_many_at_a_time():
    """Eight calls, five at a time; each waits until five are in it, or until the last three are."""
    inside, most, threads = 0, 0, set()

    async def length(prompts, completions, answer):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threads.add(threading.current_thread())
        await asyncio.sleep(0.05)
        inside -= 1
        assert answer == [completions[0].upper()]
        return [len(text) for text in completions]

    reward = load_reward(length, calls=CallOptions(concurrency=5))
    columns = [{"answer": text.upper()} for text in RESPONSES]
    assert reward.score(PROMPTS, RESPONSES, columns).scores.tolist() == LENGTHS
    assert most == 5
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    counts = counts_of(reward)
    assert (counts.responses, counts.calls, counts.retries, counts.unusable) == (8, 8, 0, 0)


def test_one_event_loop_serves_all_iterations():
    """A client that an async function keeps open belongs to the loop that it was opened in."""
    loops = set()

    async def remember(prompts, completions):
        loops.add(asyncio.get_running_loop())
        return [1.0]

    reward = load_reward(remember)
    for _ in range(3):
        reward.score(PROMPTS[:2], RESPONSES[:2])
    assert len(loops) == 1


def test_several_async_sources_run_together():
    """Each waits for the other: one after the other would never end."""
    both = threading.Barrier(2, timeout=20)

    async def first(prompts, completions):
        await asyncio.to_thread(both.wait)
        return [1.0]

    async def second(prompts, completions):
        await asyncio.to_thread(both.wait)
        return [2.0]

    reward = load_reward([first, second])
    assert reward.score(["p"], ["r"]).scores.tolist() == [3.0]


def test_function_that_computes_runs_while_servers_answer():
    called = threading.Event()

    async def slow(prompts, completions):
        await asyncio.to_thread(called.wait, 20)
        return [1.0]

    def computed(prompts, completions):
        called.set()
        return [1.0]

    # The async source comes first, and ends only once the other has been called.
    scores = load_reward([computed, slow]).score(["p"], ["r"])
    assert scores.scores.tolist() == [2.0]


def test_failed_attempts_are_repeated_and_counted():
    """Each response fails twice: 8 responses make 24 calls, of which 16 are retries."""
    failures = dict.fromkeys(RESPONSES, 2)

    async def flaky(prompts, completions):
        if failures[completions[0]]:
            failures[completions[0]] -= 1
            raise ConnectionError("lost")
        return [len(completions[0])]

    reward = load_reward(flaky, calls=CallOptions(retries=2))
    assert reward.score(PROMPTS, RESPONSES).scores.tolist() == LENGTHS
    counts = counts_of(reward)
    assert (counts.calls, counts.retries, counts.timeouts) == (24, 16, 0)


def test_timeouts_are_repeated_and_counted():
    attempts = 0

    async def slow_once(prompts, completions):
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(30 if attempts == 1 else 0)
        return [4.0]

    reward = load_reward(slow_once, calls=CallOptions(timeout=0.2, retries=1))
    assert reward.score(["p"], ["r"]).scores.tolist() == [4.0]
    counts = counts_of(reward)
    assert (counts.calls, counts.retries, counts.timeouts) == (2, 1, 1)


def test_response_that_fails_every_time_stops_the_run_and_the_other_calls():
    calls = []

    async def fails(prompts, completions):
        calls.append(completions[0])
        raise ValueError("boom")

    reward = load_reward(fails, calls=CallOptions(concurrency=1, retries=1))
    with raises("no-reward", "fails", "ValueError: boom", "2 attempts", "prompt 0"):
        reward.score(PROMPTS, RESPONSES)
    assert calls == ["", ""]


@pytest.mark.parametrize("value", [None, float("nan"), "3"])
def test_value_that_is_no_number_is_no_zero(value):
    async def unusable(prompts, completions):
        return [value if completions[0] == "aa" else 1.0]

    with raises("no-reward", "unusable", repr(value), "prompt 2"):
        load_reward(unusable).score(PROMPTS, RESPONSES)
    reward = load_reward(unusable, on_error="skip")
    scores = reward.score(PROMPTS, RESPONSES)
    assert scores.scores.isnan().tolist() == [row == 2 for row in range(8)]
    assert [row for row, failure in enumerate(scores.failures) if failure] == [2]
    assert counts_of(reward).unusable == 1


def test_wrong_number_of_values_is_not_repeated():
    calls = []

    async def two(prompts, completions):
        calls.append(completions)
        return [1.0, 2.0]

    with raises("no-reward", "two", "returned 2 for 1"):
        load_reward(two).score(["p"], ["r"])
    assert len(calls) == 1


FUNCTIONS = """
calls = []

async def length(prompts, completions, scale):
    calls.append(completions[0])
    return [len(completions[0]) * scale[0]]

async def unusable(prompts, completions):
    calls.append(completions[0])
    return [None]
"""


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path / "functions.py"


def test_cache_answers_for_equal_prompt_response_columns_and_source(functions, tmp_path):
    source, cache = f"{functions}:length", CallOptions(cache=str(tmp_path / "cache" / "s.sqlite"))
    columns = [{"scale": 2}] * 8
    doubled = [2 * length for length in LENGTHS]
    for cached in (0, 8):  # a reward of another run reads what the first one stored
        reward = load_reward(source, calls=cache)
        assert reward.score(PROMPTS, RESPONSES, columns).scores.tolist() == doubled
        counts = counts_of(reward)
        assert (counts.cached, counts.calls) == (cached, 8 - cached)
    reward = load_reward(source, calls=cache)
    assert reward.score(["prompt 1"], ["a"], [{"scale": 3}]).scores.tolist() == [3.0]
    assert reward.score(["prompt 2"], ["a"], [{"scale": 2}]).scores.tolist() == [2.0]
    assert counts_of(reward).cached == 0
    functions.write_text(FUNCTIONS.replace("* scale", "* 10 * scale"))  # another source
    again = load_reward(source, calls=cache).score(["prompt 1"], ["a"], [{"scale": 2}])
    assert again.scores.tolist() == [20.0]


def test_cache_keeps_no_unusable_value(functions, tmp_path):
    options = CallOptions(cache=str(tmp_path / "s.sqlite"))
    for _ in range(2):
        reward = load_reward(f"{functions}:unusable", on_error="skip", calls=options)
        reward.score(["p"], ["r"])
        counts = counts_of(reward)
        assert (counts.calls, counts.cached, counts.unusable) == (1, 0, 1)


def test_cache_in_another_file_is_reported(tmp_path):
    other = tmp_path / "rows.jsonl"
    other.write_text('{"prompt": "a"}\n' * 100)
    with raises("unreadable-file", "reward_cache", other):
        ScoreCache(str(other))


def test_cache_is_shared_by_processes(tmp_path):
    """Two connections write and read the same file."""
    path = str(tmp_path / "s.sqlite")
    one, two = ScoreCache(path), ScoreCache(path)
    one.put({"a": 1.0})
    two.put({"b": 0.1})
    assert one.get(["a", "b", "c"]) == two.get(["a", "b", "c"]) == {"a": 1.0, "b": 0.1}
    one.close()
    two.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM scores").fetchone() == (2,)


def test_key_of_the_cache_tells_conversations_and_columns_apart():
    case = Case(prompt="p", response="r", columns={"a": 1})
    others = [
        Case(prompt=[{"role": "user", "content": "p"}], response="r", columns={"a": 1}),
        Case(prompt="p", response="r ", columns={"a": 1}),
        Case(prompt="p", response="r", columns={"a": 2}),
    ]
    keys = [cache_key("source", each) for each in (case, *others)] + [cache_key("other", case)]
    assert len(set(keys)) == 5
    assert cache_key("source", Case(prompt="p", response="r", columns={"a": 1})) == keys[0]
