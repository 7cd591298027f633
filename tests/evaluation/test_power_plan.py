"""`rlhf evaluate --plan` on a made-up pilot."""

import json

import numpy as np
import pytest

from rlhf.evaluation.core.records import Record, write_records
from rlhf.evaluation.power_plan import print_power_plan, read_pilot
from rlhf.types import PromptRow
from tests.errors import raises


def _pilot(folder, *, prompts=200, responses=2, verdicts=()):
    """Each response wins by a coin of its own: no prompt is easier than another."""
    rng = np.random.default_rng(0)
    records = [
        Record(prompt_index=i, sample=k, model=model, text=f"{model} {k}", num_tokens=1,
               ended_with_eos=True, scores={"gold": float(rng.normal())})
        for i in range(prompts) for model in ("sft", "ppo") for k in range(responses)
    ]  # fmt: skip
    folder.mkdir()
    write_records(folder, [PromptRow(prompt=str(i)) for i in range(prompts)], records)
    content = {"baseline": "sft", "models": {"sft": "a", "ppo": "b"}, "llm_verdicts": verdicts}
    (folder / "evaluation.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_plan_uses_the_variance_of_the_pilot(tmp_path, capsys):
    """Coins at each response have a design effect near 1: more responses save prompts.

    With one response the variance at a win rate of 0.6 is 0.24: (2.8016/0.1)² · 0.24 = 188.4.
    """
    print_power_plan(str(_pilot(tmp_path / "pilot")), "unused")
    output = capsys.readouterr().out
    assert "ppo against sft by gold: 200 prompts with 2 responses each, win rate 0.480" in output
    assert "detects a difference of 0.061" in output
    rows = [line.split() for line in output.splitlines() if "│ 0." in line]
    needed = {row[1]: [int(word) for word in row if word.isdigit()] for row in rows}
    assert needed["0.60"][0] == pytest.approx(189, abs=4)
    assert needed["0.53"][0] > needed["0.55"][0] > needed["0.60"][0]
    assert needed["0.55"][0] > 1.5 * needed["0.55"][1] > 2 * needed["0.55"][3]


def test_plan_without_a_pilot_is_the_worst_case(tmp_path, capsys):
    print_power_plan(None, str(tmp_path / "new"))
    output = capsys.readouterr().out
    assert "no pilot" in output
    for needed in ("2181", "785", "197"):
        assert needed in output


def test_verdicts_of_an_llm_judge_are_a_pilot_too(tmp_path):
    verdicts = [
        {"prompt_index": i, "model": "ppo", "baseline": "sft", "ours_first": ours,
         "theirs_first": theirs}
        for i, (ours, theirs) in enumerate(
            [("first", "second"), ("second", "first"), ("first", "first")]
        )
    ]  # fmt: skip
    pilots = read_pilot(_pilot(tmp_path / "pilot", verdicts=verdicts))
    assert [pilot.name for pilot in pilots] == [
        "ppo against sft by gold",
        "ppo against sft by llm",
    ]
    assert [float(table[0, 0]) for table in pilots[1].tables] == [1.0, 0.0, 0.5]


def test_pilot_without_comparisons_raises(tmp_path):
    with raises("unreadable-file", "nowhere"):
        print_power_plan(str(tmp_path / "nowhere"), "unused")
    with raises("unreadable-file", "pilot"):
        read_pilot(_pilot(tmp_path / "pilot", prompts=1))
