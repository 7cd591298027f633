"""Fixtures: models, a server, its page in a browser, and `rlhf chat` without a terminal."""

import io
import sys
from dataclasses import replace

import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.cli import run_command
from tests.browsing import PATIENCE, chromium
from tests.chat.chat_server import serving
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "llama")))
    return replace(model, positions=100_000)  # so that a response can continue until it is stopped


@pytest.fixture(scope="module")
def endless(model):
    """The model without EOS ids."""
    return replace(model, chat=replace(model.chat, eos_token_ids=()))


@pytest.fixture(scope="module")
def site(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site:
        yield site


@pytest.fixture(scope="module")
def client(site):
    return site.client()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser):
    """Opens the page of a site; fails on any error, dialog, or request to another server."""
    contexts, problems = [], []

    def note_console(message):
        # A status that a test provokes is not an error of the page.
        if message.type == "error" and not message.text.startswith("Failed to load"):
            problems.append(message.text)

    def open_at(site, **options):
        def note_request(request):
            if not request.url.startswith((site.address, "blob:")):
                problems.append(request.url)

        viewport = {"width": 1280, "height": 900}
        context = browser.new_context(**{"viewport": viewport, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("console", note_console)
        page.on("request", note_request)
        page.goto(site.address)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = {"one": make_model(folder / "one"), "two": make_model(folder / "other", seed=1)}
    return {
        name: replace(load_chat_model(str(path)), positions=100_000) for name, path in paths.items()
    }


@pytest.fixture
def open_chat(open_page):
    """Opens the page with short responses and a fixed seed."""

    def open_at(site, **options):
        page = open_page(site, **options)
        page.click("#settings summary")
        page.fill("#max-tokens", "12")
        page.fill("#seed", "5")
        return page

    return open_at


@pytest.fixture
def run_chat(monkeypatch, capsys):
    """Runs `rlhf chat WORDS` in this process, with a pipe as its input; returns what it prints."""

    def run(*words, piped=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped), encoding="utf-8"))
        assert run_command(["chat", *words]) == 0
        return capsys.readouterr()

    return run
