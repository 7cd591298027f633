"""Samples on disk: a cut line is dropped, and a file of other settings raises or is replaced."""

import pytest

from rlhf.rollouts.sample_journal import SampleJournal, has_samples, model_version
from tests.errors import raises


@pytest.mark.parametrize("cut", ['[5, 0, "cut o', '[5, 0, "cut"]', '[5, 0, "c[6, 0, "after"]\n'])
def test_journal_drops_a_line_that_was_cut_off(tmp_path, cut):
    """Without its end, or with the next one behind it, as a full disk leaves it."""
    path = tmp_path / "j"
    with SampleJournal(path, {"seed": 1}) as journal:
        journal.add(4, 1, ["b", "c"])
        journal.add(4, 0, ["a\n"])
    with path.open("a") as file:
        file.write(cut)
    with SampleJournal(path, {"seed": 1}) as journal:
        assert journal.of_prompt(4) == ["a\n", "b", "c"]
        assert (journal.num_samples, journal.prompts_with(0)) == (3, {4})
        journal.add(5, 0, ["whole"])
    with SampleJournal(path, {"seed": 1}) as journal:
        assert journal.of_prompt(5) == ["whole"]
    with raises("other-run", str(path), "seed=1"):
        SampleJournal(path, {"seed": 2})


def test_journal_of_other_settings_is_replaced_where_that_is_logged(tmp_path):
    path, logged = tmp_path / "j", []
    with SampleJournal(path, {"seed": 1, "models": ["a"]}) as journal:
        journal.add(0, 0, ["old"])
    with SampleJournal(path, {"seed": 2, "models": ["a"]}, logged.append) as journal:
        assert journal.get(0, 0) is None
        journal.add(1, 0, [{"kl": 0.1}])
    assert len(logged) == 1
    assert "seed=1" in logged[0]
    with SampleJournal(path, {"seed": 2, "models": ["a"]}, logged.append) as journal:
        assert (journal.get(1, 0), journal.num_samples, len(logged)) == ([{"kl": 0.1}], 1, 1)


def test_file_without_samples_does_not_hold_the_next_command_up(tmp_path):
    """A server rejected the first request, and the settings were corrected."""
    path = tmp_path / "j"
    SampleJournal(path, {"max_new_tokens": 5000}).__exit__()
    assert not has_samples(path)
    with SampleJournal(path, {"max_new_tokens": 50}) as journal:
        journal.add(0, 0, ["a"])
    assert has_samples(path)
    with raises("other-run", "max_new_tokens=50"):
        SampleJournal(path, {"max_new_tokens": 5000})


@pytest.mark.parametrize("name", ["pytorch_model.bin", "chat_template.jinja", "config.json"])
def test_version_changes_with_any_file_of_the_model(tmp_path, name):
    """Without a manifest; responses in the model's folder are none of its files."""
    (tmp_path / name).write_text("a")
    before = model_version(str(tmp_path))
    (tmp_path / "out.jsonl.partial").write_text("[]")
    assert model_version(str(tmp_path)) == before
    (tmp_path / name).write_text("ab")
    assert model_version(str(tmp_path)) != before
