"""`reward_chat_template` and `reward_chat_template_kwargs`: which reward model reads which."""

import pytest

from rlhf.rewards.templates import JudgeTemplate, judge_templates
from tests.errors import raises

MODELS = ["a", "gold.py:score", "b"]
CLOSED = {"enable_thinking": False}


def test_one_template_for_all_or_one_each():
    """A function reads none, and is not counted."""
    own, raw = JudgeTemplate(), JudgeTemplate(template="none")
    assert judge_templates(MODELS, None, None) == {"a": own, "b": own}
    assert judge_templates(MODELS, ["none"], None) == {"a": raw, "b": raw}
    assert judge_templates(MODELS, ["none", "auto"], None) == {"a": raw, "b": own}
    assert judge_templates(MODELS, None, None, default="none") == {"a": raw, "b": raw}


def test_one_kwargs_object_for_all_or_one_each():
    closed = JudgeTemplate(kwargs=CLOSED)
    one, each = '{"enable_thinking": false}', '[null, {"enable_thinking": false}]'
    assert judge_templates(MODELS, None, one) == {"a": closed, "b": closed}
    assert judge_templates(MODELS, None, each) == {"a": JudgeTemplate(), "b": closed}


@pytest.mark.parametrize(
    ("sources", "templates", "kwargs", "code", "name"),
    [
        (MODELS, ["a.jinja", "b.jinja", "c.jinja"], None, "bad-value", "reward_chat_template"),
        (MODELS, None, "[{}, {}, {}]", "bad-value", "reward_chat_template_kwargs"),
        (MODELS, None, "{thinking}", "bad-value", "{thinking}"),
        (MODELS, None, '["x"]', "bad-value", "'x'"),
        (MODELS, None, '{"tools": []}', "bad-value", "'tools'"),
        (["gold.py:score"], ["none"], None, "key-conflict", "reward_chat_template"),
        (["gold.py:score"], None, "{}", "key-conflict", "reward_chat_template_kwargs"),
    ],
)
def test_unusable_judge_templates_raise(sources, templates, kwargs, code, name):
    with raises(code, name):
        judge_templates(sources, templates, kwargs)
