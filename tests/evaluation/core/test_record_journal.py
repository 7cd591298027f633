"""Records on disk: batches that are there are not sampled, and the order stays."""

from contextlib import contextmanager

import pytest
import torch

from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.record_journal import RecordJournal
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.sampling import kept_records, load_evaluated_model, sample_records
from rlhf.evaluation.core.served import served_records
from rlhf.rollouts.chat_server import ServedModel
from rlhf.rollouts.native import NativeEngine
from rlhf.rollouts.sample_journal import SampleJournal
from rlhf.types import PromptRow
from tests.rollouts.fake_chat_server import FakeChatServer
from tests.tiny_models import make_model

ROWS = [PromptRow(prompt=text) for text in ("Where is the cat?", "Say 1.", "Is it red or blue?")]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models = [str(make_model(folder / name, seed=n)) for n, name in enumerate(("a", "b"))]
    return EvaluateConfig(
        models=models, eval_data="", num_generations=2, max_completion_length=6,
        per_device_eval_batch_size=2,
    )  # fmt: skip


@contextmanager
def _journal(path):
    with SampleJournal(path, {}) as samples:
        yield RecordJournal(samples, ["a", "b"], 2)


def test_records_of_a_journal_equal_sampled_ones_in_order(config, tmp_path, monkeypatch):
    """KL and loss are floats of many digits. The shortest prompt, of index 1, comes first."""
    device = torch.device("cpu")
    a, b = (
        load_evaluated_model(name, path, config, device)
        for name, path in config.model_paths.items()
    )
    rest = (ROWS, [0, 1, 2], config, 7)
    whole = sample_records(b, a, *rest)
    assert [record.prompt_index for record in whole[:2]] == [1, 1]
    assert None not in {record.kl for record in whole}
    with _journal(tmp_path / "j") as journal:
        journal.add(whole[:3])  # the second batch is not complete
    sampled, generate = [], NativeEngine.generate

    def counted(engine, batch, sampling):
        sampled.append(batch.prompts[0])
        return generate(engine, batch, sampling)

    monkeypatch.setattr(NativeEngine, "generate", counted)
    with _journal(tmp_path / "j") as journal:
        assert journal.of_prompts("b", [0, 1, 2]) is None
        assert sample_records(b, a, *rest, journal=journal) == whole
    assert len(sampled) == 2
    with _journal(tmp_path / "j") as journal:
        assert kept_records(journal, "b", b.chat, *rest[:3]) == whole
        assert journal.of_prompts("a", [1]) is None


def test_served_model_is_asked_for_what_is_missing(config, tmp_path):
    server = FakeChatServer()
    kept = Record(
        prompt_index=1, sample=1, model="a", text="kept", num_tokens=2, ended_with_eos=True
    )
    with _journal(tmp_path / "j") as journal:
        journal.add([kept])
        served = ServedModel(address=server.address, model="a")
        records = served_records("a", served, ROWS, [0, 1], config, 0, journal)
        assert records[3] == kept
        assert len(server.asked) == 3
        assert journal.of_prompts("a", [0, 1]) == records
    server.close()
