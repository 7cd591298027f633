"""`rlhf chat` without a terminal: one prompt, from the command line or a pipe."""

import pytest

from tests.errors import raises
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("models") / "llama"))


@pytest.fixture(scope="module")
def short(folder):
    return [folder, "--temperature", "0", "--max_new_tokens", "12"]


def test_single_prompt_and_pipe_print_only_the_response(short, run_chat):
    once = run_chat(*short, "--prompt", "A cat?")
    piped = run_chat(*short, piped=b"A cat?\n")
    assert piped.out == once.out != "\n"
    assert "chat template" in once.err


def test_pipe_to_several_models_prints_each_name(short, folder, run_chat):
    printed = run_chat(*short, folder, piped=b"A cat?\n")
    first, second = printed.out.split(f"{folder}: ")[1:]
    assert first.strip() == second.strip() != ""


@pytest.mark.parametrize(("piped", "words"), [(b"caf\xe9", "not UTF-8"), (b"", "is empty")])
def test_pipe_of_broken_or_no_text_is_rejected(short, run_chat, piped, words):
    with raises("bad-value", words):
        run_chat(*short, piped=piped)


def test_folder_without_a_model_is_rejected(tmp_path, run_chat):
    with raises("not-a-model", tmp_path):
        run_chat(str(tmp_path))
