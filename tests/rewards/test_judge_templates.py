"""`reward_chat_template` and `reward_chat_template_kwargs`: which reward model reads which."""

import pytest

from rlhf.errors import ConfigError
from rlhf.rewards.templates import JudgeTemplate, judge_templates

MODELS = ["a", "gold.py:score", "b"]
CLOSED = {"enable_thinking": False}


def test_one_template_is_for_all_and_several_are_in_order():
    """A function reads none, and is not counted."""
    own, raw = JudgeTemplate(), JudgeTemplate(template="none")
    assert judge_templates(MODELS, None, None) == {"a": own, "b": own}
    assert judge_templates(MODELS, ["none"], None) == {"a": raw, "b": raw}
    assert judge_templates(MODELS, ["none", "auto"], None) == {"a": raw, "b": own}
    assert judge_templates(MODELS, None, None, default="none") == {"a": raw, "b": raw}


def test_one_object_is_for_all_and_a_list_is_in_order():
    closed = JudgeTemplate(kwargs=CLOSED)
    one, each = '{"enable_thinking": false}', '[null, {"enable_thinking": false}]'
    assert judge_templates(MODELS, None, one) == {"a": closed, "b": closed}
    assert judge_templates(MODELS, None, each) == {"a": JudgeTemplate(), "b": closed}


@pytest.mark.parametrize(
    ("sources", "templates", "kwargs", "reason"),
    [
        (MODELS, ["a.jinja", "b.jinja", "c.jinja"], None, "3 values for 2 reward models"),
        (MODELS, None, "[{}, {}, {}]", "3 values for 2 reward models"),
        (MODELS, None, "{thinking}", "is no JSON"),
        (MODELS, None, '["x"]', "'x' is no JSON object"),
        (MODELS, None, '{"tools": []}', "'tools' is no variable"),
        (["gold.py:score"], ["none"], None, "reward_chat_template is for reward models"),
        (["gold.py:score"], None, "{}", "reward_chat_template_kwargs is for reward models"),
    ],
)
def test_what_fits_no_reward_model_is_an_error(sources, templates, kwargs, reason):
    with pytest.raises(ConfigError, match=reason):
        judge_templates(sources, templates, kwargs)
