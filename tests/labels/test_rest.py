"""The REST API: tokens, pages of entries, idempotent labels, its description."""

import json

import pytest
from starlette.testclient import TestClient

from rlhf.cli import run_command
from rlhf.labels.api_tokens import api_access, new_api_token, revoke_api_token
from rlhf.labels.queue import Queue
from rlhf.labels.review import decisions
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web import permissions
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.rest import create_rest, with_rest
from tests.errors import raises
from tests.labels.web_server import candidates

HOST = "http://127.0.0.1"


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        yield store


@pytest.fixture
def queue(store):
    return Queue(store, QueueConfig(overlap=2))


@pytest.fixture
def client(queue):
    """Requests with a token that may write."""
    app = with_rest(create_app(queue, WebConfig()), queue, WebConfig.hosts)
    token = new_api_token(queue.store, "robot", "write")
    with TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


def label(item: int, key: str = "key-number-1", **changes) -> dict:
    return {"item_id": item, "annotator": "Ann", "ranks": [1, 2, 3, 4], "key": key, **changes}


def new_item(**fields) -> dict:
    return {"items": [{"prompt": "p", "responses": ["a", "b"], **fields}]}


def test_items_are_added_once_and_listed_by_page(client, store):
    items = [{"prompt": f"p{n}", "responses": ["a", "b"], "models": ["m", "n"]} for n in range(5)]
    items[0]["prompt"] = [{"role": "user", "content": "p0", "refusal": None}]
    items[1]["columns"] = {"topic": "x"}
    ids = client.post("/rest/v1/items", json={"items": items}).json()["ids"]
    assert client.post("/rest/v1/items", json={"items": items}).json()["ids"] == ids
    assert len(store.items()) == 5
    first = client.get("/rest/v1/items", params={"limit": 3}).json()
    assert [item["id"] for item in first["items"]] == ids[:3]
    assert first["items"][0]["prompt"] == [{"role": "user", "content": "p0"}]
    assert first["items"][1]["columns"] == {"topic": "x"}
    rest = client.get("/rest/v1/items", params={"limit": 3, "after": first["next"]}).json()
    assert [item["id"] for item in rest["items"]] == ids[3:]
    assert rest["next"] is None


def test_label_counts_once_for_its_key(client, store):
    [item] = store.add_candidates(candidates(1))
    one = client.post("/rest/v1/labels", json=label(item)).json()
    again = client.post("/rest/v1/labels", json=label(item)).json()
    assert one == again
    [entry] = client.get("/rest/v1/labels").json()["labels"]
    assert entry["event_id"] == one["event_id"]
    assert (entry["annotator"], entry["ranks"], entry["item_id"]) == ("Ann", [1, 2, 3, 4], item)
    store.undo(one["event_id"])
    assert client.get("/rest/v1/labels").json() == {"labels": [], "next": None}


@pytest.mark.parametrize(
    "changes", [{"item_id": 2}, {"annotator": "Bob"}, {"ranks": [4, 3, 2, 1]}, {"strength": 2.0}]
)
def test_key_of_another_label_is_rejected(client, store, changes):
    """Otherwise the label would be lost: two programs may count their keys alike."""
    store.add_candidates(candidates(2))
    client.post("/rest/v1/labels", json=label(1)).raise_for_status()
    reply = client.post("/rest/v1/labels", json=label(1) | changes)
    assert (reply.status_code, "another label" in reply.json()["detail"]) == (409, True)
    assert len(store.labels()) == 1


def test_annotator_takes_one_place_of_an_item(client, store, queue):
    """With overlap 2 Ann's second key would fill the item, and Bob could not label it."""
    first, second = store.add_candidates(candidates(2))
    one = client.post("/rest/v1/labels", json=label(first)).json()["event_id"]
    again = client.post("/rest/v1/labels", json=label(first, "key-number-2", ranks=[2, 1, 3, 4]))
    assert (again.status_code, "Ann has a label" in again.json()["detail"]) == (409, True)
    assert client.get("/rest/v1/progress").json()["places_left"] == 3
    store.undo(one)
    client.post("/rest/v1/labels", json=label(first, "key-number-4")).raise_for_status()
    queue.claim_item("Ann", second)
    holding = client.post("/rest/v1/labels", json=label(second, "key-number-3"))
    assert (holding.status_code, "on the page" in holding.json()["detail"]) == (409, True)
    client.post("/rest/v1/labels", json=label(second, "key-number-5", annotator="Bob"))
    assert client.get("/rest/v1/progress").json()["places_left"] == 1


def test_queue_hands_out_no_item_that_its_annotator_labelled_by_rest(client, store, queue):
    """With overlap 2 each item has a place left; Ann's label of the first leaves her the second."""
    first, second = store.add_candidates(candidates(2))
    event = client.post("/rest/v1/labels", json=label(first)).json()["event_id"]
    assert (queue.progress("Ann").left, queue.progress("Bob").left) == (1, 2)
    assert queue.next("Bob").item.id == first
    claim = queue.next("Ann")
    assert claim.item.id == second
    assert queue.skip("Ann", claim.id, {}, request_key="s") is None
    assert queue.progress("Ann").left == 0
    store.undo(event)
    assert queue.next("Ann").item.id == first


def test_events_are_complete_and_progress_counts_what_stands(client, store):
    first, second = store.add_candidates(candidates(2))
    kept = client.post("/rest/v1/labels", json=label(first)).json()["event_id"]
    undone = client.post("/rest/v1/labels", json=label(second, "key-number-2")).json()["event_id"]
    client.post("/rest/v1/labels", json=label(first, "key-number-3", annotator="Bob"))
    store.undo(undone)
    events = client.get("/rest/v1/events").json()["events"]
    assert [event["kind"] for event in events] == ["submit", "submit", "submit", "undo"]
    assert [event["undoes"] for event in events] == [None, None, None, undone]
    assert events[0]["payload"]["ranks"] == [1, 2, 3, 4]
    later = client.get("/rest/v1/events", params={"after": kept}).json()["events"]
    assert later == events[1:]
    progress = client.get("/rest/v1/progress").json()
    assert (progress["items"], progress["labelled_items"], progress["labels"]) == (2, 1, 2)
    assert progress["places_left"] == 2
    names = [(one["name"], one["labels"]) for one in progress["annotators"]]
    assert names == [("Ann", 1), ("Bob", 1)]


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("labels", label(99), "item 99 is not in the store"),
        ("labels", label(1, ranks=[1, 2]), "do not fit the 4 responses"),
        ("labels", label(1, strength=0.0), "strength"),
        ("labels", label(1, annotator=" Ann"), "' Ann'"),
        ("labels", label(1, key="short"), "key"),
        ("labels", {**label(1), "more": 1}, "more"),
        ("items", {"items": [{"prompt": "p", "responses": ["a"]}]}, "responses"),
        ("items", {"items": [{"prompt": " ", "responses": ["a", "b"]}]}, "prompt"),
        ("items", {"items": [{"prompt": [{"role": "x"}], "responses": ["a", "b"]}]}, "role"),
        ("items", new_item(prompt=[{"role": "user", "content": "p", "text": "q"}]), "text"),
        *(
            ("items", new_item(columns={name: "x"}), f"column {name} of their own")
            for name in (
                "ranks",
                "prompt",
                "annotator",
                "labelled_at",
                "margin",
                "criteria.helpful",
            )
        ),
    ],
)
def test_body_that_cannot_be_used_is_named(client, store, path, body, detail):
    store.add_candidates(candidates(1))
    reply = client.post(f"/rest/v1/{path}", json=body)
    assert reply.status_code == 422
    assert detail in reply.json()["detail"]
    assert store.count_events() == {}
    assert len(store.items()) == 1


@pytest.mark.parametrize("path", ["items", "labels", "events"])
def test_unknown_query_parameter_is_named(client, path):
    """A misspelt `after` would list everything again."""
    reply = client.get(f"/rest/v1/{path}", params={"afer": 3})
    assert (reply.status_code, "query.afer" in reply.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    "part",
    [
        '"columns": {"x": NaN}',
        '"columns": {"x": [1e999]}',
        '"columns": {"x": "\\ud800"}',
        '"columns": {"\\ud800": 1}',
        '"columns": {"x": %s}' % ("[" * 32 + "]" * 32),
        '"columns": {"x": %s}' % ("[" * 900 + "]" * 900),
        '"prompt": [{"role": "user", "content": "\\ud800"}]',
    ],
)
def test_item_that_could_not_be_listed_again_is_rejected(client, store, part):
    """Python reads such JSON and would store it; then every list of items would fail."""
    item = f'{{"items": [{{"prompt": "p", "responses": ["a", "b"], {part}}}]}}'
    headers = {"content-type": "application/json"}
    reply = client.post("/rest/v1/items", content=item, headers=headers)
    assert (reply.status_code, store.items()) == (422, [])
    assert part.split('"')[1] in reply.json()["detail"]


def test_item_whose_labels_are_no_data_takes_none(client, store):
    """An excluded item and a gold item; a key that was sent before still gives its label's id."""
    first, second = store.add_candidates(candidates(2))
    sent = client.post("/rest/v1/labels", json=label(first)).json()
    decisions.exclude(store, first, "the prompt is cut off")
    store.add_gold(candidates(2)[1:], [[1, 2, 3, 4]])
    for item, reason in ((first, "excluded"), (second, "gold")):
        reply = client.post("/rest/v1/labels", json=label(item, "key-number-2"))
        assert (reply.status_code, reason in reply.json()["detail"]) == (409, True)
    assert client.post("/rest/v1/labels", json=label(first)).json() == sent
    assert len(store.labels(with_excluded=True)) == 1
    decisions.reopen(store, first, "complete after all")
    body = label(first, "key-number-2", annotator="Bob")
    assert client.post("/rest/v1/labels", json=body).status_code == 200


@pytest.mark.parametrize("paging", [{"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "x"}])
@pytest.mark.parametrize("kind", ["items", "labels", "events"])
def test_page_of_a_list_out_of_range_is_rejected(client, kind, paging):
    reply = client.get(f"/rest/v1/{kind}", params=paging)
    assert (reply.status_code, next(iter(paging)) in reply.json()["detail"]) == (422, True)


def test_every_route_needs_a_token_and_writing_the_role(client, store, queue):
    routes = [
        (method, route.path)
        for route in create_rest(queue).routes
        for method in route.methods
        if method != "HEAD" and "openapi" not in route.path
    ]
    listed = {
        tuple(route.split())
        for route in permissions.ROLES_OF_ROUTE
        if "/rest/" in route and "openapi" not in route
    }
    assert set(routes) == listed
    assert len(listed) == 6
    reader = {"authorization": f"Bearer {new_api_token(store, 'reader', 'read')}"}
    for method, path in routes:
        for headers in ({"authorization": ""}, {"authorization": "Bearer x"}):
            assert client.request(method, path, headers=headers).status_code == 401
        status = client.request(method, path, headers=reader, json={}).status_code
        assert status == (403 if method == "POST" else 200)
    assert client.get("/rest/v1/items", headers={"host": "evil.example"}).status_code == 421


def test_tokens_of_programs_open_no_page_and_those_of_people_no_api(client, store):
    from rlhf.labels import access

    invite = access.invite(store, "Ann")
    assert (
        client.get("/rest/v1/items", headers={"authorization": f"Bearer {invite}"}).status_code
        == 401
    )
    token = client.headers["authorization"].removeprefix("Bearer ")
    login = client.post("/login", json={"token": token}, headers={"origin": HOST})
    assert login.status_code == 401


def test_new_token_revokes_the_old_one(store):
    old = new_api_token(store, "robot", "read")
    new = new_api_token(store, "robot", "write")
    assert api_access(store, old) is None
    assert (api_access(store, new).name, api_access(store, new).role) == ("robot", "write")
    revoke_api_token(store, "robot")
    assert api_access(store, new) is None
    with raises("unknown-name", "robot"):
        revoke_api_token(store, "robot")


def test_command_prints_and_revokes_tokens(tmp_path, capsys):
    location = tmp_path / "labels.sqlite"
    LabelStore(location, create=True).close()
    words = ["label", "token", "--store", str(location), "robot"]
    run_command([*words, "--role", "write"])
    token = capsys.readouterr().out.split(": ")[1].strip()
    with LabelStore(location) as store:
        assert api_access(store, token).role == "write"
    run_command([*words, "--revoke"])
    with LabelStore(location) as store:
        assert api_access(store, token) is None


def test_description_needs_no_token_and_has_every_route(client):
    description = client.get("/rest/v1/openapi.json", headers={"authorization": ""}).json()
    operations = {
        operation["operationId"]
        for path in description["paths"].values()
        for operation in path.values()
    }
    assert operations == {
        "list_items", "add_items", "list_labels", "add_label", "list_events", "progress"
    }  # fmt: skip
    assert "HTTPBearer" in description["components"]["securitySchemes"]


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/x-www-form-urlencoded"}], ids=["none", "curl"]
)
def test_body_without_the_content_type_of_json_is_named(client, store, headers):
    """curl --data sends that of a form."""
    store.add_candidates(candidates(1))
    reply = client.post("/rest/v1/labels", content=json.dumps(label(1)), headers=headers)
    assert (reply.status_code, "application/json" in reply.json()["detail"]) == (422, True)


def test_description_has_the_errors_as_they_are_sent(client, store):
    """FastAPI describes a list of objects in place of the text of 422."""
    store.add_candidates(candidates(1))
    description = client.get("/rest/v1/openapi.json").json()
    answers = description["paths"]["/rest/v1/labels"]["post"]["responses"]
    assert set(answers) == {"200", "401", "403", "409", "422"}
    schemas = {
        answers[status]["content"]["application/json"]["schema"]["$ref"] for status in answers
    }
    assert schemas == {"#/components/schemas/LabelId", "#/components/schemas/Problem"}
    problem = description["components"]["schemas"]["Problem"]
    assert problem["properties"]["detail"]["type"] == "string"
    reply = client.post("/rest/v1/labels", json={**label(1), "ranks": 1})
    assert (reply.status_code, type(reply.json()["detail"])) == (422, str)


def test_page_is_served_next_to_the_api(client):
    assert client.get("/health").json() == {"status": "up"}
    assert client.get("/rest/v1/nothing").status_code == 404
