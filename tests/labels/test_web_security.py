"""Access to the label page: denied by default, by session, role, origin and rate."""

import httpx
import pytest

from rlhf.labels.people import update_person
from rlhf.labels.web import permissions
from rlhf.labels.web.live_sampling import LiveSampling
from rlhf.labels.web.login import MAX_FAILED_LOGINS
from rlhf.web.guard import MAX_BODY
from tests.labels.web_server import Client

# Every route of the app with the roles that may use it; a test checks that a new route is added.
EVERYBODY = ("annotator", "adjudicator", "researcher", "admin")
ROLES_OF_ROUTE = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/api/form"): ("annotator", "adjudicator"),
    ("GET", "/api/guideline"): ("annotator", "adjudicator"),
    ("POST", "/api/next"): ("annotator",),
    ("POST", "/api/heartbeat"): ("annotator",),
    ("POST", "/api/draft"): ("annotator",),
    ("POST", "/api/submit"): ("annotator",),
    ("POST", "/api/skip"): ("annotator",),
    ("POST", "/api/undo"): ("annotator",),
    ("GET", "/api/completion"): ("annotator",),
    ("GET", "/api/work"): ("annotator",),
    ("POST", "/api/ask"): ("annotator",),
    ("GET", "/api/ask"): ("annotator",),
    ("POST", "/api/questions"): ("annotator", "adjudicator"),
    ("GET", "/api/questions"): ("annotator", "adjudicator"),
    ("GET", "/adjudicate"): ("adjudicator",),
    ("GET", "/api/adjudicate"): ("adjudicator",),
    ("POST", "/api/adjudicate"): ("adjudicator",),
    ("GET", "/admin"): ("researcher", "admin"),
    ("POST", "/admin/invite"): ("admin",),
    ("POST", "/admin/finish"): ("researcher", "admin"),
    ("GET", "/admin/export/rankings"): ("researcher", "admin"),
    ("GET", "/admin/items"): ("researcher", "admin"),
    ("GET", "/admin/items/1"): ("researcher", "admin"),
    ("POST", "/admin/decide"): ("researcher", "admin"),
    ("GET", "/admin/events"): ("researcher", "admin"),
    ("GET", "/admin/people"): ("researcher", "admin"),
    ("POST", "/admin/people"): ("researcher", "admin"),
    ("POST", "/admin/access"): ("admin",),
    ("GET", "/admin/audit"): ("admin",),
    ("GET", "/admin/audit/export"): ("admin",),
    ("GET", "/admin/guideline"): ("researcher", "admin"),
    ("POST", "/admin/guideline"): ("researcher", "admin"),
    ("POST", "/admin/answer"): ("researcher", "admin"),
    ("GET", "/admin/models"): ("researcher", "admin"),
    ("GET", "/pictures/cat.png"): EVERYBODY,
    ("POST", "/logout"): EVERYBODY,
}
ROUTES = list(ROLES_OF_ROUTE)
# Values of the parameters of paths.
PARAMETERS = {"{kind}": "rankings", "{item_id}": "1", "{name}": "cat.png"}

PUBLIC_ROUTES = [
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/health"),
    ("GET", "/crowd"),
    ("POST", "/crowd"),
    ("GET", "/oidc/login"),
    ("GET", "/oidc/callback"),
]


def with_parameters(path: str) -> str:
    for name, value in PARAMETERS.items():
        path = path.replace(name, value)
    return path


def test_list_of_routes_is_complete(site):
    """The access tests below cover every route of the app."""
    from fastapi.routing import APIRoute

    from rlhf.labels.web.app import create_app
    from rlhf.labels.web.config import WebConfig

    guarded = create_app(site.queue, WebConfig(), LiveSampling(site.store, lambda prompt: []))
    routes = {
        (method, with_parameters(route.path))
        for route in guarded._app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert routes == set(ROUTES) | set(PUBLIC_ROUTES)
    others = {route.path for route in guarded._app.routes if not isinstance(route, APIRoute)}
    assert others == {"/static", "/static/text"}


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/openapi.json"), ("PUT", "/x")])
def test_request_without_session_is_rejected(site, method, path):
    headers = {"origin": site.address, "x-csrf-token": "x", "cookie": "rlhf_label=made-up"}
    response = httpx.request(method, site.address + path, headers=headers, json={})
    assert response.status_code == (303 if path == "/" else 401)


def with_role(site, name: str, role: str) -> Client:
    """A person of this role, logged in."""
    site.token(name)
    with site.store.write() as connection:
        update_person(connection, name, role=role)
    return site.client(name)


@pytest.mark.parametrize("role", EVERYBODY)
def test_each_role_may_use_its_routes_and_no_others(site, role):
    client = with_role(site, "rita", role)
    for (method, path), roles in ROLES_OF_ROUTE.items():
        body = {} if method == "POST" else None
        response = client.http.request(method, path, json=body)
        # Without a model or a run that waits, /api/ask and /admin/finish are allowed and missing.
        allowed = (200, 303, 404, 422)
        assert (response.status_code in allowed) == (role in roles), (path, response.text)
        if role not in roles:
            assert response.json()["detail"] == f"this page is not for the role {role}"
    assert client.post("/api/next", {}).status_code == 401  # the last route logged out


def test_admin_link_has_the_role_admin(site):
    admin = site.client("admin")
    assert admin.http.get("/").headers["location"] == "/admin"
    assert admin.post("/admin/access", {}).status_code == 422
    assert admin.post("/api/next", {}).status_code == 403


def test_route_that_is_not_in_the_table_is_closed_to_everybody(site):
    for client in (site.client("ann"), site.client("admin")):
        for method, path in (
            ("GET", "/openapi.json"),
            ("PUT", "/admin"),
            ("GET", "/admin/items/1/x"),
        ):
            assert client.http.request(method, path).status_code == 404


def test_table_of_roles_has_no_route_that_does_not_exist(site):
    """The REST API's routes are checked in test_rest.py."""
    listed = {
        (
            method,
            path.replace("/export/*", "/export/rankings")
            .replace("/items/*", "/items/1")
            .replace("/pictures/*", "/pictures/cat.png"),
        )
        for method, path in (route.split() for route in permissions.ROLES_OF_ROUTE)
        if not path.startswith("/rest/")
    }
    assert listed == {*ROUTES, *PUBLIC_ROUTES}


def test_change_of_role_counts_from_the_next_request(site):
    rita, admin = site.client("rita"), site.client("admin")
    assert rita.next()["claim"] is not None
    body = {"name": "rita", "role": "researcher"}
    admin.post("/admin/access", body).raise_for_status()
    assert rita.post("/api/next", {}).status_code == 403
    assert rita.http.get("/").headers["location"] == "/admin"
    assert rita.http.get("/admin/people").status_code == 200
    # Neither for herself nor for another: a link would log in as its person.
    assert rita.post("/admin/access", {"name": "rita", "role": "admin"}).status_code == 403
    assert rita.post("/admin/people", {"name": "rita", "role": "admin"}).status_code == 422
    assert rita.post("/admin/invite", {"name": "zoe"}).status_code == 403
    assert admin.post("/admin/access", {"name": "rita", "role": "boss"}).status_code == 422
    assert admin.post("/admin/access", {"name": "zoe", "role": "admin"}).status_code == 422
    admin.post("/admin/access", {"name": "rita", "revoke": True}).raise_for_status()
    assert rita.http.get("/admin").status_code == 401


def test_researcher_sees_no_controls_of_access(site):
    rita, admin = with_role(site, "rita", "researcher"), site.client("admin")
    for path, control in (("/admin", 'id="invite"'), ("/admin/people", 'id="revoke"')):
        assert control in admin.http.get(path).text
        assert control not in rita.http.get(path).text


def test_annotator_cannot_change_the_item_of_another(site):
    ann, bob = site.client("ann"), site.client("bob")
    item = ann.next()
    ann.post("/api/draft", {"claim": item["claim"], "form": {"comment": "ann's"}})
    assert bob.submit(item, "key-00000001").status_code == 409
    skip = {"claim": item["claim"], "key": "key-00000002", "reason": "other", "seconds": 0.0}
    assert bob.post("/api/skip", skip).status_code == 409
    draft = {"claim": item["claim"], "form": {"comment": "bob's"}}
    assert bob.post("/api/draft", draft).json() == {"saved": False}
    assert bob.post("/api/heartbeat", {"claim": item["claim"]}).json() == {"holds": False}
    assert bob.post("/api/undo", {"key": "key-00000003"}).json()["kind"] == "nothing"
    assert ann.next()["draft"] == {"comment": "ann's"}
    # The same key from two annotators is two clicks.
    ann.submit(item, "key-00000009").raise_for_status()
    bob.submit(bob.next(), "key-00000009").raise_for_status()
    assert len(site.store.labels()) == 2


def test_request_from_another_origin_or_host_is_rejected(site):
    ann = site.client("ann")
    for origin in ("http://evil.example", "null", "", f"{site.address}.evil.example"):
        response = ann.http.post("/api/next", json={}, headers={"origin": origin})
        assert response.status_code == 403, origin
    ann.http.headers["x-csrf-token"] = "guessed"
    assert ann.post("/api/next", {}).status_code == 403
    rebound = ann.http.get("/", headers={"host": "evil.example"})
    assert rebound.status_code == 421


def test_large_bodies_are_rejected_with_or_without_a_length(site):
    ann = site.client("ann")
    large = b'{"x": "' + b"a" * MAX_BODY + b'"}'
    assert ann.http.post("/api/next", content=large).status_code == 413
    chunks = (large[start : start + 65536] for start in range(0, len(large), 65536))
    response = ann.http.post("/api/draft", content=chunks)
    assert response.status_code in (400, 413)
    assert ann.next()["claim"] is not None


def test_headers_forbid_inline_scripts_and_other_sources(site):
    for path in ("/login", "/static/label.js", "/nowhere"):
        headers = httpx.get(site.address + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    ann = site.client("ann")
    assert ann.http.get("/").headers["cache-control"] == "no-store"


def test_cookies_are_strict_and_http_only(site):
    response = httpx.post(
        f"{site.address}/login", json={"token": site.token("ann")}, headers={"origin": site.address}
    )
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_failed_logins_are_rate_limited(site):
    def log_in(token):
        headers = {"origin": site.address}
        return httpx.post(f"{site.address}/login", json={"token": token}, headers=headers)

    assert [log_in(f"guess{i}").status_code for i in range(MAX_FAILED_LOGINS)] == [
        401
    ] * MAX_FAILED_LOGINS
    assert log_in(site.token("ann")).status_code == 429


def test_new_link_revokes_the_old_one_and_logout_ends_the_session(site):
    ann = site.client("ann")
    invite = site.client("admin").post("/admin/invite", {"name": "ann"}).json()
    assert ann.post("/api/next", {}).status_code == 401
    renewed = Client(site.address, invite["token"])
    assert renewed.next()["claim"] is not None
    cookie = renewed.http.cookies["rlhf_label"]
    renewed.post("/logout", {})
    renewed.http.cookies.set("rlhf_label", cookie)
    assert renewed.post("/api/next", {}).status_code == 401


def test_tokens_are_stored_as_hashes_in_a_private_file(site, tmp_path):
    ann = site.client("ann")
    content = (tmp_path / "labels.sqlite").read_bytes()
    for secret in (site.admin_token, site.token("ann"), ann.http.cookies["rlhf_label"]):
        assert secret.encode() not in content
    assert (tmp_path / "labels.sqlite").stat().st_mode & 0o777 == 0o600
