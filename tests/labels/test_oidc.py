"""Login by OpenID Connect against a provider in the test: state, nonce, signature, roles."""

import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from rlhf.labels import access
from rlhf.labels.audit import AuditFilter, entries
from rlhf.labels.people import everyone, revoke, update_person
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.oidc import STATE_SECONDS, OidcConfig, OidcLogin, highest_role
from tests.errors import raises
from tests.labels.web_server import candidates

pytest.importorskip("authlib", reason="needs authlib")
oidc_provider = pytest.importorskip("tests.labels.oidc_provider", reason="needs joserfc")
CLIENT, SECRET = oidc_provider.CLIENT, oidc_provider.SECRET
HOST = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def shared_provider():
    with oidc_provider.running() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider):
    """The provider, which logs in Ann."""
    shared_provider.reset()
    shared_provider.claims = {"preferred_username": "Ann"}
    return shared_provider


@pytest.fixture
def store(tmp_path):
    """Ann is an annotator, and Rita a researcher."""
    with LabelStore(tmp_path / "labels.sqlite") as store:
        store.add_candidates(candidates(2))
        for name in ("Ann", "Rita"):
            access.invite(store, name)
        with store.write() as connection:
            update_person(connection, "Rita", role="researcher")
        yield store


class Site:
    """The label app with this provider."""

    def __init__(self, store, provider, **options) -> None:
        self.now = 0.0
        config = OidcConfig(
            issuer=provider.issuer, client_id=CLIENT, client_secret=SECRET, **options
        )
        login = OidcLogin(config, HOST, clock=lambda: self.now)
        self.app = create_app(Queue(store, QueueConfig()), WebConfig(oidc=login))

    def browser(self) -> TestClient:
        headers = {"origin": HOST}
        return TestClient(self.app, base_url=HOST, headers=headers, follow_redirects=False)


def approve(browser) -> str:
    """Begin a login and let the provider approve it; returns the path that it redirects to."""
    begun = browser.get("/oidc/login")
    assert begun.status_code == 303
    answer = httpx.get(begun.headers["location"], follow_redirects=False)
    parts = urlsplit(answer.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}" == HOST
    return f"{parts.path}?{parts.query}"


def log_in(browser) -> httpx.Response:
    return browser.get(approve(browser))


def test_person_of_the_store_logs_in(store, provider):
    site = Site(store, provider)
    ann = site.browser()
    assert provider.issuer.removeprefix("http://") in ann.get("/login").text
    done = log_in(ann)
    assert done.status_code == 200
    assert 'content="0; url=/"' in done.text
    session = next(one for one in done.headers.get_list("set-cookie") if "rlhf_label" in one)
    assert "samesite=strict" in session.lower()
    assert "httponly" in session.lower()
    assert "max-age=43200" in session.lower()
    assert "Logged in as Ann" in ann.get("/").text
    provider.claims = {"preferred_username": "Rita"}
    rita = site.browser()
    assert 'content="0; url=/admin"' in log_in(rita).text
    assert rita.get("/admin/items").status_code == 200
    with store.read() as connection:
        found = list(entries(connection, AuditFilter(who="Ann")))
    assert [(one.role, one.action) for one in found] == [("annotator", "GET /oidc/callback")]


def test_state_belongs_to_one_browser_and_one_login(store, provider):
    site = Site(store, provider)
    victim, attacker = site.browser(), site.browser()
    path = approve(attacker)  # a login of the attacker, which the victim is lured to finish
    for attempt in (path, path.replace("state=", "state=x"), path.split("state=")[0]):
        assert victim.get(attempt).status_code == 400
    assert provider.token_requests == 0
    assert victim.get("/admin").status_code == 401
    path = approve(victim)
    assert victim.get(path).status_code == 200
    assert victim.get(path).status_code == 400  # a state is used once
    path = approve(victim)
    site.now = STATE_SECONDS
    assert victim.get(path).status_code == 400


def test_state_cookie_alone_is_not_enough(store, provider):
    browser = Site(store, provider).browser()
    begun = browser.get("/oidc/login")
    [state] = parse_qs(urlsplit(begun.headers["location"]).query)["state"]
    answer = browser.get("/oidc/callback", params={"state": state, "code": "guessed"})
    assert answer.status_code == 403
    assert "rlhf_label" not in browser.cookies


HOUR = 3600


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"nonce": "x", "nonce_supported": False},
        {"aud": "another client"},
        {"aud": ["another client"], "azp": CLIENT},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": int(time.time()) - HOUR},
        {"exp": None},
        {"preferred_username": None},
        {"preferred_username": " "},
        {"preferred_username": ["Ann"]},
        {"preferred_username": "Bob"},
        {"preferred_username": "(administrator)"},
    ],
)
def test_wrong_claims_log_nobody_in(store, provider, changes):
    provider.changes = changes
    browser = Site(store, provider).browser()
    assert log_in(browser).status_code == 403
    assert "rlhf_label" not in browser.cookies
    assert browser.get("/admin").status_code == 401


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_token_that_the_provider_did_not_sign_logs_nobody_in(store, provider, algorithm):
    """Both are among the algorithms that the provider lists; neither proves who signed."""
    provider.algorithm = algorithm
    browser = Site(store, provider).browser()
    assert log_in(browser).status_code == 403
    assert "rlhf_label" not in browser.cookies


def test_token_of_an_unpublished_key_logs_nobody_in(store, provider):
    provider.published = oidc_provider.RSAKey.generate_key(2048, {"kid": "one"})
    assert log_in(Site(store, provider).browser()).status_code == 403


def test_error_of_the_provider_is_shown_as_text(store, provider):
    provider.denied = "access_denied"
    answer = log_in(Site(store, provider).browser())
    assert answer.status_code == 403
    assert "&lt;b&gt;no" in answer.text
    assert "<b>no" not in answer.text


def test_role_claim_adds_people_and_sets_roles(store, provider):
    site = Site(store, provider, role_claim="groups")
    provider.claims = {"preferred_username": "Zoë", "groups": ["staff", "annotator", "researcher"]}
    assert 'content="0; url=/admin"' in log_in(site.browser()).text
    provider.claims = {"preferred_username": "Rita", "groups": "adjudicator"}
    assert 'content="0; url=/adjudicate"' in log_in(site.browser()).text
    provider.claims = {"preferred_username": "Bob", "groups": ["staff"]}
    assert log_in(site.browser()).status_code == 403
    with store.write() as connection:
        assert {one.name: one.role for one in everyone(connection)} == {
            "Ann": "annotator",
            "Rita": "adjudicator",
            "Zoë": "researcher",
        }
        revoke(connection, "Rita")
    provider.claims = {"preferred_username": "Rita", "groups": "admin"}
    assert log_in(site.browser()).status_code == 403  # her access was ended here


def test_roles_of_a_claim():
    assert highest_role(["annotator", "admin", "researcher"]) == "admin"
    assert highest_role("adjudicator") == "adjudicator"
    for claim in (None, "", [], ["staff"], {"admin": True}, 7, "admin researcher"):
        assert highest_role(claim) is None


def test_email_must_be_verified(store, provider):
    access.invite(store, "ann@example.org")
    site = Site(store, provider, name_claim="email")
    for verified, status in ((None, 403), (False, 403), ("true", 403), (True, 200)):
        provider.claims = {"email": "ann@example.org", "email_verified": verified}
        assert log_in(site.browser()).status_code == status


def test_provider_is_checked_when_the_server_starts(provider):
    def config(**options):
        values = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET}
        return OidcConfig(**{**values, **options})

    with raises("missing-key", "RLHF_OIDC_CLIENT_SECRET"):
        config(client_secret="")
    with raises("bad-value", "http://idp.example"):
        config(issuer="http://idp.example")
    with raises("bad-value", "openid-configuration"):
        OidcLogin(config(issuer=f"{provider.issuer}/realm"), HOST)
    with raises("bad-value", provider.issuer):  # not exactly the issuer of its tokens
        OidcLogin(config(issuer=f"{provider.issuer}/"), HOST)


def test_without_a_provider_there_is_no_such_login(store):
    app = create_app(Queue(store, QueueConfig()), WebConfig())
    browser = TestClient(app, base_url=HOST)
    assert browser.get("/oidc/login").status_code == 404
    assert browser.get("/oidc/callback").status_code == 404
    assert "oidc" not in browser.get("/login").text
