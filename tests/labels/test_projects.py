"""Several projects on one server: one login, separate people, roles and sessions."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rlhf.cli import run_command
from rlhf.labels import access
from rlhf.labels.form_config import FormConfig
from rlhf.labels.people import everyone, update_person
from rlhf.labels.project_list import ProjectEntry, load_projects
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import page_templates
from rlhf.labels.web.config import LabelServerConfig, WebConfig
from rlhf.labels.web.projects import create_projects_app, split_path
from rlhf.labels.web.proxy_login import proxy_login
from rlhf.labels.web.serve_projects import check_options, open_project
from rlhf.labels.webhook import Webhook
from tests.errors import raises
from tests.labels.test_web_security import ROUTES
from tests.labels.web_server import candidates

HOST = "http://127.0.0.1"
# Tags of the templates.
OWN_TAGS = (
    *("html", "head", "meta", "title", "script", "link", "body", "main", "h1", "p", "a", "strong"),
    *(
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "form",
        "label",
        "input",
        "button",
    ),
)
HEADER, PROXY = "X-Forwarded-User", "10.0.0.5"


class Server:
    """Two projects, `maths` and `chat`, with their stores."""

    def __init__(self, stack, folder, start) -> None:
        self.stores, projects = {}, []
        for name in ("maths", "chat"):
            path = folder / f"{name}.sqlite"
            store = stack.enter_context(LabelStore(path))
            store.add_candidates(candidates(2))
            self.stores[name] = store
            entry = ProjectEntry(
                name=name, title=f"The {name} <b>", store=str(path), form=None, guideline=None
            )
            projects.append(open_project(entry, store, FormConfig(), start, QueueConfig()))
        self.app = create_projects_app(projects, start)

    def invite(self, name, *projects, role=None):
        """One link for a person in some projects."""
        token = access.new_token()
        for project in projects:
            access.invite(self.stores[project], name, token)
            with self.stores[project].write() as connection:
                update_person(connection, name, role=role)
        return token

    def browser(self, token=None, **headers):
        client = TestClient(
            self.app,
            base_url=HOST,
            headers={"origin": HOST, **headers},
            follow_redirects=False,
            client=(PROXY, 5),
        )
        if token is not None:
            client.post("/login", json={"token": token}).raise_for_status()
        return client


@pytest.fixture
def server(tmp_path):
    with ExitStack() as stack:
        yield Server(stack, tmp_path, WebConfig())


def csrf_of(page):
    return page.text.split('name="csrf" content="')[1].split('"')[0]


def test_one_login_opens_every_project_of_the_link(server):
    ann = server.browser(server.invite("Ann", "maths", "chat"))
    start = ann.get("/").text
    assert 'href="/p/maths/"' in start
    assert 'href="/p/chat/"' in start
    assert "The maths &lt;b&gt;" in start
    for name, store in server.stores.items():
        csrf = csrf_of(ann.get(f"/p/{name}/"))
        item = ann.post(f"/p/{name}/api/next", json={}, headers={"x-csrf-token": csrf}).json()
        body = {
            "claim": item["claim"],
            "key": "key-00000001",
            "seconds": 3.0,
            "form": {"tiers": [1, 2, 3, 4]},
        }
        headers = {"x-csrf-token": csrf}
        ann.post(f"/p/{name}/api/submit", json=body, headers=headers).raise_for_status()
        assert [label.annotator for label in store.labels()] == ["Ann"]


def test_link_leads_to_the_only_project_of_its_person(server):
    browser = server.browser()
    for name, role, to in (
        ("Bob", "annotator", "/p/maths/"),
        ("Dana", "adjudicator", "/p/maths/adjudicate"),
        ("Rita", "researcher", "/p/maths/admin"),
    ):
        token = server.invite(name, "maths", role=role)
        assert browser.post("/login", json={"token": token}).json() == {"to": to}
    assert browser.post("/login", json={"token": "guess"}).status_code == 401
    assert server.browser().get("/").headers["location"] == "/login"


def test_person_of_one_project_does_not_enter_another(server):
    """Neither with a cookie of the other name, nor by having the name of a person there."""
    server.invite("Rita", "chat", role="admin")
    impostor = server.browser(server.invite("Rita", "maths", role="annotator"))
    assert 'href="/p/chat' not in impostor.get("/").text
    assert impostor.get("/p/chat/").headers["location"] == "/p/chat/login"
    assert impostor.get("/p/chat/admin").status_code == 401
    cookie = impostor.cookies["rlhf_label_maths"]
    impostor.cookies.set("rlhf_label_chat", cookie)
    assert impostor.get("/p/chat/admin").status_code == 401
    assert impostor.get("/p/maths/admin").status_code == 403


def test_every_route_of_a_project_needs_a_session_of_it(server):
    browser = server.browser(server.invite("Bob", "maths"))
    for method, path in ROUTES:
        headers = {"x-csrf-token": "x"}
        status = browser.request(method, f"/p/chat{path}", json={}, headers=headers).status_code
        assert status == (303 if path == "/" else 401), (method, path)
    assert browser.get("/p/chat/rest/v1/items").status_code == 401
    assert browser.get("/p/maths/", headers={"host": "evil.example"}).status_code == 421
    assert browser.get("/", headers={"host": "evil.example"}).status_code == 421
    evil = {"origin": "http://evil.example"}
    assert browser.post("/login", json={"token": "x"}, headers=evil).status_code == 403


def test_links_of_the_pages_stay_in_their_project(server):
    token = access.admin_token(server.stores["maths"])
    admin = server.browser(token)
    server.stores["maths"].add("p", ["a", "b"], ranks=[1, 2], annotator="Ann")
    pages = ["/admin", "/admin/items", "/admin/items/1", "/admin/events", "/admin/people"]
    pages += ["/admin/guideline", "/admin/models", "/admin/audit", "/login"]
    for page in pages:
        text = admin.get(f"/p/maths{page}").raise_for_status().text
        assert 'name="base" content="/p/maths"' in text
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', text)
        assert links
        for link in links:
            assert link == "/" or link.startswith(("/p/maths/", "/static/")), (page, link)
    assert admin.get("/p/maths/").headers["location"] == "/p/maths/admin"
    assert admin.get("/static/base.js").status_code == 200
    csrf = csrf_of(admin.get("/p/maths/admin"))
    left = admin.post("/p/maths/logout", json={}, headers={"x-csrf-token": csrf})
    assert left.json() == {"to": "/p/maths/login"}
    assert admin.get("/p/maths/admin").status_code == 401


def test_addresses_of_projects():
    assert split_path("/p/maths/admin/items") == ("maths", "/admin/items")
    assert split_path("/p/maths/") == ("maths", "/")
    assert split_path("/p/maths") == ("", "/p/maths")
    assert split_path("/login") == ("", "/login")
    assert split_path("/p//admin") == ("", "/admin")


def test_unknown_project_is_not_found(server):
    browser = server.browser()
    assert browser.get("/p/maths").headers["location"] == "/p/maths/"
    assert browser.get("/p/none").status_code == 404
    assert browser.get("/p/none/admin").status_code == 404
    assert browser.get("/health").json() == {"status": "up"}


def test_proxy_names_the_user_of_every_project(tmp_path):
    start = WebConfig(proxy=proxy_login(HEADER, [PROXY]))
    with ExitStack() as stack:
        server = Server(stack, tmp_path, start)
        server.invite("Ann", "maths")
        server.invite("Ann", "chat", role="researcher")
        server.invite("Bob", "chat")
        rows = re.findall(r'<a href="(/p/[^"]*)"', server.browser(**{HEADER: "Ann"}).get("/").text)
        assert rows == ["/p/maths/", "/p/chat/admin"]
        bob = server.browser(**{HEADER: "Bob"})
        assert bob.get("/p/chat/").status_code == 200
        assert bob.get("/p/maths/").status_code == 403
        elsewhere = TestClient(
            server.app, base_url=HOST, headers={HEADER: "Ann"}, client=("10.9.9.9", 5)
        )
        for path in ("/", "/p/chat/", "/login"):
            assert elsewhere.get(path).status_code == 403


def test_list_of_projects_is_read_and_checked(tmp_path):
    path = tmp_path / "projects.yaml"
    (tmp_path / "form.yaml").write_text("overall: false\n")
    path.write_text(
        "projects:\n"
        "  - {name: maths, title: Maths, store: m.sqlite, form: helpsteer, guideline: g.md}\n"
        "  - {name: chat-2, store: 'postgresql+psycopg://h/db', form: form.yaml, pictures: .}\n"
    )
    assert load_projects(path) == [
        ProjectEntry(
            name="maths",
            title="Maths",
            store=str(tmp_path / "m.sqlite"),
            form="helpsteer",
            guideline=tmp_path / "g.md",
        ),
        ProjectEntry(
            name="chat-2",
            title="chat-2",
            store="postgresql+psycopg://h/db",
            form=str(tmp_path / "form.yaml"),
            guideline=None,
            pictures=tmp_path,
        ),
    ]


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("", "missing-key", "projects:"),
        ("projects: []", "missing-key", "projects:"),
        ("projects: [maths]", "missing-key", "project 1"),
        ("stores: []", "unknown-key", "stores"),
        ("projects: [{name: a, store: x, people: y}]", "unknown-key", "people"),
        ("projects: [{name: a, store: x, pictures: none}]", "missing-file", "none"),
        ("projects: [{store: x}]", "bad-value", "project 1"),
        ("projects: [{name: ../a, store: x}]", "bad-value", "../a"),
        ("projects: [{name: A, store: x}]", "bad-value", "'A'"),
        ("projects: [{name: a}]", "missing-key", "store"),
        ("projects: [{name: a, store: x}, {name: a, store: y}]", "repeated-key", "name a"),
        ("projects: [{name: a, store: x}, {name: b, store: x}]", "repeated-key", "x"),
    ],
)
def test_unusable_list_of_projects_raises(tmp_path, text, code, name):
    path = tmp_path / "projects.yaml"
    path.write_text(text)
    with raises(code, name):
        load_projects(path)


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"store": "x"}, "--store"),
        ({"annotators": ["a"]}, "--annotators"),
        ({"until": "all"}, "--until"),
        ({"models": ["m"]}, "--model"),
        ({"form": "safety"}, "--form"),
        ({"webhook": Webhook(url="http://127.0.0.1/x")}, "--webhook"),
    ],
)
def test_options_of_one_store_raise_with_projects(option, name):
    with raises("key-conflict", name):
        check_options(LabelServerConfig(**option))


def test_command_invites_to_all_projects(tmp_path, capsys):
    path = tmp_path / "projects.yaml"
    path.write_text("projects: [{name: a, store: a.sqlite}, {name: b, store: b.sqlite}]\n")
    for name in ("a", "b"):
        LabelStore(tmp_path / f"{name}.sqlite").close()
    run_command(["label", "invite", "--projects", str(path), "Ann", "--role", "researcher"])
    token = capsys.readouterr().out.strip().split("#")[1]
    for name in ("a", "b"):
        with LabelStore(tmp_path / f"{name}.sqlite") as store:
            assert access.log_in(store, token)[1].role == "researcher"
            with store.read() as connection:
                assert [one.name for one in everyone(connection)] == ["Ann"]
    with raises("missing-key", "--projects"):
        run_command(["label", "invite", "Ann"])
    with raises("missing-key", "--projects"):
        run_command(["label", "serve"])


def test_invite_to_a_project_without_a_store_changes_no_project(tmp_path, capsys):
    """Ann's link to the first project stays valid, and Bob is not invited there."""
    path, first = tmp_path / "projects.yaml", tmp_path / "a.sqlite"
    path.write_text("projects: [{name: a, store: a.sqlite}, {name: b, store: b.sqlite}]\n")
    with LabelStore(first) as store:
        token = access.invite(store, "Ann")
    with raises("missing-file", "b.sqlite"):
        run_command(["label", "invite", "--projects", str(path), "Ann", "Bob"])
    assert capsys.readouterr().out == ""
    with LabelStore(first) as store:
        assert access.log_in(store, token) is not None
        assert access.names(store) == ["Ann"]


def test_hostile_titles_names_and_errors_stay_text():
    pages = page_templates(WebConfig())
    for text in (Path(__file__).parent / "xss.txt").read_text().splitlines():
        row = {"title": text, "name": text, "role": text, "link": "/p/maths/"}
        shown = pages.get_template("projects.html").render(rows=[row])
        shown += pages.get_template("login.html").render(user=text, provider=text, problem=text)
        for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", shown):
            assert tag in OWN_TAGS, text
        assert shown.count("<script") == 3  # theme.js twice, login.js
        assert len(re.findall(r"<[^>]* on[a-z]+=", shown)) == 0, text
