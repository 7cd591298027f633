"""Fixtures of the trainers' tests."""

import pytest

from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs
from tests.tiny_models import make_model


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """The folder of a tiny Llama with its tokenizer."""
    start_processes(1)
    quiet_logs()
    return make_model(tmp_path_factory.mktemp("model"))
