"""Fixtures of the engines' tests."""

import pytest

from tests.rollouts.fake_server import FakeServer
from tests.tiny_models import make_model


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory):
    """A tiny policy."""
    return make_model(tmp_path_factory.mktemp("rollouts") / "policy", "wide_llama")


@pytest.fixture
def make_server(policy_folder):
    """Makes fake servers of the policy, and ends them."""
    servers = []

    def make(**wrong):
        servers.append(FakeServer(policy_folder, **wrong))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
