"""How environments are named and checked, and what they must not return."""

import math

import pytest

from rlhf.rollouts.environment import (
    Unusable,
    check_reset,
    parse_environment,
    read_start,
    read_step,
    reset_arguments,
)
from rlhf.rollouts.environment_config import EnvironmentConfig, check_environment_keys
from tests.errors import raises

USER = {"role": "user", "content": "lower"}
FILE = '''
def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: One number.
        b: Another one.
    """
    return a + b


class Sums:
    tools = [add]

    def reset(self, prompt, answer, seed=0):
        self.answer = answer

    def step(self, messages):
        return [], 0.0, True


class Half:
    def reset(self, prompt):
        pass


class Undocumented:
    tools = [len]
    reset = step = lambda self: None


number = 3
'''


@pytest.fixture
def file(tmp_path):
    (tmp_path / "sums.py").write_text(FILE)
    return tmp_path / "sums.py"


def test_class_in_a_file_is_found_with_the_schemas_of_its_tools(file):
    spec = parse_environment(f"{file}:Sums")
    (tool,) = spec.tools
    assert tool["function"]["name"] == "add"
    assert set(tool["function"]["parameters"]["properties"]) == {"a", "b"}
    assert type(spec.make()).__name__ == "Sums"


@pytest.mark.parametrize(
    ("name", "words"),
    [("Half", "step"), ("Undocumented", "schema"), ("number", "class"), ("Nothing", "Nothing")],
)
def test_name_that_is_no_environment_is_rejected(file, name, words):
    with raises("bad-environment", words):
        parse_environment(f"{file}:{name}")


@pytest.mark.parametrize("source", ["none.py:Guess", "sums.txt:Sums", "sums", 3])
def test_source_that_is_no_class_is_rejected(source):
    with raises("bad-environment", source):
        parse_environment(source)


def test_file_with_an_error_is_rejected(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    with raises("bad-environment", "ZeroDivisionError"):
        parse_environment(f"{tmp_path}/broken.py:Guess")


def test_reset_gets_the_columns_that_it_takes(file):
    spec = parse_environment(f"{file}:Sums")
    arguments = reset_arguments(spec, "2 + 3", {"answer": 5, "other": 1}, 7)
    assert arguments == {"prompt": "2 + 3", "answer": 5, "seed": 7}


def test_column_that_no_row_has_is_rejected(file):
    spec = parse_environment(f"{file}:Sums")
    check_reset(spec, {"answer", "other"})
    with raises("bad-environment", "answer", "other"):
        check_reset(spec, {"other"})


def test_step_is_read():
    step = read_step(([USER], 2, False))
    assert (step.messages, step.reward, step.done) == ([USER], 2.0, False)
    assert read_step(("lower", 0.5, False)).messages == [USER]
    assert read_step((None, True, True)).reward == 1.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "messages, reward, done"),
        (([USER], 1.0), "messages, reward, done"),
        (([USER], math.nan, False), "finite"),
        (([USER], math.inf, True), "finite"),
        (([USER], "1", False), "number"),
        (([USER], None, False), "number"),
        (([], 0.0, False), "no message"),
        (([{"role": "user"}], 0.0, False), "content"),
        (([{"role": "assistant", "content": "x"}], 0.0, False), "assistant"),
        ((3, 0.0, False), "list of messages"),
    ],
)
def test_step_that_cannot_be_used_is_rejected(value, words):
    with pytest.raises(Unusable, match=words):
        read_step(value)


def test_start_is_the_prompt_or_another_conversation():
    assert read_start(None, "guess") == "guess"
    assert read_start("a number", "guess") == "a number"
    assert read_start([USER], "guess") == [USER]
    for value in ([], [{"role": "assistant", "content": "x"}], 3):
        with pytest.raises(Unusable):
            read_start(value, "guess")


def test_limit_of_turns_needs_an_environment():
    check_environment_keys(EnvironmentConfig(environment="a.py:B", max_turns=1))
    with raises("key-conflict", "max_turns"):
        check_environment_keys(EnvironmentConfig(max_turns=3))
    with raises("bad-value", "max_turns"):
        check_environment_keys(EnvironmentConfig(environment="a.py:B", max_turns=0))
