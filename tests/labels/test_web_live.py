"""The live source: prompts of people, answered by models in a worker, and ranked."""

import threading
import time

import pytest

from rlhf.errors import ConfigError
from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.live_sampling import MOST_WAITING, LiveSource
from rlhf.labels.web.models import load_sampler
from tests.labels.web_server import pairs_and_more, serving
from tests.tiny_models import make_model


def state(person) -> str:
    return person.http.get("/api/ask").json()["state"]


def test_prompts_wait_in_a_bounded_queue_and_labelling_goes_on(tmp_path):
    """A model that does not come back holds up those who asked it, and nobody else."""
    started, go_on = threading.Event(), threading.Event()

    def sampler(prompt):
        started.set()
        assert go_on.wait(60)
        return [(f"{prompt} one", "m1"), (f"{prompt} two", "m2")]

    def live(store):
        return LiveSource(store, sampler)

    with serving(tmp_path, pairs_and_more(1), live=live) as site:
        people = [site.client(f"ann{number}") for number in range(MOST_WAITING + 2)]
        assert people[0].post("/api/ask", {"prompt": "p0"}).status_code == 200
        assert started.wait(60)  # one is being answered, and no longer waits
        for number, person in enumerate(people[1:-1], 1):
            assert person.post("/api/ask", {"prompt": f"p{number}"}).status_code == 200
        refused = people[-1].post("/api/ask", {"prompt": "one too many"})
        assert (refused.status_code, "too many" in refused.json()["detail"]) == (503, True)
        again = people[0].post("/api/ask", {"prompt": "impatient"})
        assert (again.status_code, "still" in again.json()["detail"]) == (409, True)
        assert [state(person) for person in people] == ["waiting"] * (MOST_WAITING + 1) + ["none"]
        item = people[-1].next()
        people[-1].submit(item, "key-00000001").raise_for_status()
        go_on.set()
        for number, person in enumerate(people[:-1]):
            while (now := state(person)) == "waiting":
                time.sleep(0.01)
            assert now == "ready"
            asked = person.next()
            assert sorted(one["text"] for one in asked["answers"]) == [
                f"p{number} one",
                f"p{number} two",
            ]


def test_two_models_share_the_answers_and_stay_unnamed(tmp_path):
    models = [str(make_model(tmp_path / name)) for name in ("llama", "other")]
    config = LabelServerConfig(store="x", models=models, num_responses=3, max_new_tokens=6)
    sampler = load_sampler(config)
    one, other = sampler("Where is the ball?"), sampler("Where is the ball?")
    assert [model for _, model in one] == [models[0], models[0], models[1]]
    assert one != other  # asked again, they answer anew

    def live(store):
        return LiveSource(store, sampler)

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


def test_more_models_than_answers_are_refused():
    config = LabelServerConfig(store="x", models=["a", "b", "c"], num_responses=2)
    with pytest.raises(ConfigError, match="num_responses=2"):
        load_sampler(config)
