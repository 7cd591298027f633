"""Live sampling: annotators' prompts, responses from a worker thread, ranked as items."""

import threading
import time

from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.live_sampling import MAX_WAITING, LiveSampling
from rlhf.labels.web.models import load_sampler
from tests.errors import raises
from tests.labels.web_server import candidates, serving
from tests.rollouts.fake_chat_server import FakeChatServer
from tests.tiny_models import make_model


def state(client) -> str:
    return client.http.get("/api/ask").json()["state"]


def test_prompts_wait_in_a_bounded_queue_while_labelling_continues(tmp_path):
    """A blocked model delays only the annotators with a prompt."""
    started, release = threading.Event(), threading.Event()

    def sampler(prompt):
        started.set()
        assert release.wait(60)
        return [(f"{prompt} one", "m1"), (f"{prompt} two", "m2")]

    def live(store):
        return LiveSampling(store, sampler)

    with serving(tmp_path, candidates(1), live=live) as site:
        clients = [site.client(f"ann{number}") for number in range(MAX_WAITING + 2)]
        assert clients[0].post("/api/ask", {"prompt": "p0"}).status_code == 200
        assert started.wait(60)  # the first one is running and no longer waits
        for number, client in enumerate(clients[1:-1], 1):
            assert client.post("/api/ask", {"prompt": f"p{number}"}).status_code == 200
        rejected = clients[-1].post("/api/ask", {"prompt": "one too many"})
        assert (rejected.status_code, "too many" in rejected.json()["detail"]) == (503, True)
        second = clients[0].post("/api/ask", {"prompt": "impatient"})
        assert (second.status_code, "still" in second.json()["detail"]) == (409, True)
        assert [state(client) for client in clients] == ["waiting"] * (MAX_WAITING + 1) + ["none"]
        item = clients[-1].next()
        clients[-1].submit(item, "key-00000001").raise_for_status()
        release.set()
        for number, client in enumerate(clients[:-1]):
            while (status := state(client)) == "waiting":
                time.sleep(0.01)
            assert status == "ready"
            responses = client.next()["answers"]
            assert sorted(response["text"] for response in responses) == [
                f"p{number} one",
                f"p{number} two",
            ]


def test_two_models_share_the_responses_and_stay_unnamed(tmp_path):
    models = [str(make_model(tmp_path / name)) for name in ("llama", "other")]
    config = LabelServerConfig(store="x", models=models, num_responses=3, max_new_tokens=6)
    sampler = load_sampler(config)
    one, other = sampler("Where is the ball?"), sampler("Where is the ball?")
    assert [model for _, model in one] == [models[0], models[0], models[1]]
    assert one != other  # a second call samples new responses

    def live(store):
        return LiveSampling(store, sampler)

    with serving(tmp_path, [], live=live) as site:
        ann = site.client("ann")
        ann.post("/api/ask", {"prompt": "Where is the ball?"}).raise_for_status()
        while state(ann) == "waiting":
            time.sleep(0.01)
        item = ann.next()
        assert not any(model in str(item) for model in models)
        [stored] = site.store.items()
        assert set(stored.models) == set(models)
        assert stored.columns == {"source": "live"}


def test_more_models_than_responses_raise():
    config = LabelServerConfig(store="x", models=["a", "b", "c"], num_responses=2)
    with raises("key-conflict", "num_responses=2"):
        load_sampler(config)


def test_server_gives_fresh_responses_to_each_prompt():
    """Models in turn; every request has a seed of its own, in the second prompt too."""
    server = FakeChatServer()
    config = LabelServerConfig(
        store="x", server=server.address, models=["x", "y"], num_responses=3, max_new_tokens=6
    )
    sampler = load_sampler(config)
    assert sampler("Why?") == [("x: Why?", "x"), ("y: Why?", "y"), ("x: Why?", "x")]
    sampler("Who?")
    assert len({content["seed"] for _, content in server.asked}) == 6
    assert {content["max_tokens"] for _, content in server.asked} == {6}
    server.close()


def test_prompt_to_a_lost_server_fails_and_the_page_goes_on(tmp_path):
    server = FakeChatServer()
    config = LabelServerConfig(store="x", server=server.address, num_responses=2)
    sampler = load_sampler(config)
    server.close()

    def live(store):
        return LiveSampling(store, sampler)

    with serving(tmp_path, candidates(1), live=live) as site:
        ann = site.client("ann")
        ann.post("/api/ask", {"prompt": "Why?"}).raise_for_status()
        while (answer := ann.http.get("/api/ask").json())["state"] == "waiting":
            time.sleep(0.01)
        assert answer["state"] == "failed"
        assert answer["error"].startswith(f"the server {server.address} ")
        assert ann.next()["answers"]


def test_unusable_servers_raise_before_the_page_is_served():
    with raises("engine-lost", "http://127.0.0.1:9/v1"):
        load_sampler(LabelServerConfig(store="x", server="http://127.0.0.1:9/v1"))
    server = FakeChatServer()
    with raises("unknown-name", "'other'", server.address):
        load_sampler(LabelServerConfig(store="x", server=server.address, models=["other"]))
    server.close()
