"""stats.json of the labels stage, as other programs and the report read it."""

import json

import pytest

from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore
from rlhf.pipeline.label_stage import STATS, STORE, write_stats
from rlhf.report.labels import label_view


def test_stats_file_of_one_annotator_has_null_in_place_of_nan(tmp_path):
    file = LabelStore(tmp_path / STORE)
    file.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
    file.submit(Label(item_id=1, annotator="ann", ranks=(1, 2), order_shown=(0, 1)))
    file.close()
    write_stats(tmp_path)
    assert (tmp_path / STATS).stat().st_mode & 0o777 == 0o600  # it has the annotators' names
    text = (tmp_path / STATS).read_text()
    stats = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert stats["agreement"] == {"value": None, "n": 0}
    assert stats["alpha"] == {"value": None, "low": None, "high": None, "n": 0}
    view = label_view(stats)
    assert view is not None
    assert view.summary == ["1 labels for 1 prompts"]
