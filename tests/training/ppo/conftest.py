"""Fixtures of the PPO tests."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Tiny matrices: a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
