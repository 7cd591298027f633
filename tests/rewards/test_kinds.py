"""What rewards are called in files for others."""

import pytest

from rlhf.rewards.kinds import public_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("owner/reward-model", "owner/reward-model"),
        ("2*owner/reward-model", "owner/reward-model"),
        ("runs/reward", "reward"),  # a folder, which could be a hub id
        ("./runs/reward/", "reward"),
        ("0.5*{folder}/runs/reward", "reward"),
        ("{folder}/gone/reward", "reward"),
        ("{folder}/length.py:score", "length.py:score"),
        ("rewards/length.py:score", "length.py:score"),
        ("{folder}/rubric.yaml", "rubric.yaml"),
        ("https://user:word@host.example/score", "a server"),
        ("judge:{folder}/judge?address=http://host", "judge:judge"),
        ("judge:owner/judge", "judge:owner/judge"),
        ("verifier:code?timeout=3", "verifier:code"),
    ],
)
def test_public_name_tells_nothing_of_the_machine(tmp_path, monkeypatch, source, name):
    (tmp_path / "runs" / "reward").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name(source.format(folder=tmp_path)) == name
