"""Prompts that a program passes."""

import pytest

from rlhf.data.prompts import check_prompts
from tests.errors import raises

USER = {"role": "user", "content": "Hi"}


def test_texts_and_conversations_are_prompts():
    check_prompts(["Hi", [USER], (USER, {"role": "assistant", "content": "Hello."}, USER)])
    check_prompts([])


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        ("Hi", "str"),
        (None, "NoneType"),
        ({"Hi": 1}, "dict"),
        ({"Hi"}, "set"),
        ((text for text in ["Hi"]), "generator"),
        ([USER], "prompts[0]"),
        (["Hi", 1], "prompts[1]"),
        ([["Hi"]], "prompts[0]"),
        ([[{"role": "user", "content": 1}]], "prompts[0]"),
        ([[{"role": "narrator", "content": "Hi"}]], "narrator"),
        ([[]], "prompts[0]"),
    ],
)
def test_other_values_are_rejected(prompts, named):
    with raises("bad-value", named):
        check_prompts(prompts)
