"""README and docs: snippets run, links and files exist, generated pages are current."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_origin

import pytest

import rlhf
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *PAGES]
GENERATED = (
    *(f"reference/{name}.md" for name in ("cli", "config", "errors", "api")),
    *("research/compare.md", "images/compare-frontier.svg"),
)

# Occurrences per 1,000 words. Earlier texts overused these; each has a plainer alternative.
LIMIT = 0.2
OVERUSED = {
    "say": r"say|says|said|saying",
    "stand or lie, for be": r"stand|stands|stood|standing|lie|lies|lay|lying",
    "nobody": r"nobody|somebody|anybody",
    "refuse": r"refuse|refuses|refused|refusing",
    "beside": r"beside|besides",
    "anew": r"anew",
    "in words": r"in words",
}

# What the README's and the docs' snippets see of the repository.
VISIBLE = ("data", "recipes", "benchmarks", "accelerate_config.yaml")
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|slow): (?P<reason>[^\n]+?) -->\n+)?"
    r"^```(?P<language>bash|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Runs the blocks of one page in order: Python in one namespace, bash in shells of their own.
RUNNER = """
import json, subprocess, sys
namespace = {"__name__": "__main__"}
for language, code in json.load(sys.stdin):
    print(f"--- {language}\\n{code}", flush=True)
    if language == "bash":
        command = ["bash", "-euo", "pipefail", "-c", code]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    else:
        exec(compile(code, "snippet", "exec"), namespace)
"""


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    language: str
    code: str
    mark: str | None  # "not run", "slow" or None


@cache
def snippets(page: Path) -> list[Snippet]:
    """The bash and Python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.finditer(text)
    return [Snippet(block["language"], block["code"], block["mark"]) for block in blocks]


def pages_with(mark: str | None) -> list[Path]:
    """The pages that have a snippet of this mark."""
    pages = [ROOT / "README.md", *PAGES]
    return [page for page in pages if any(snippet.mark == mark for snippet in snippets(page))]


def run_page(page: Path, folder: Path, *, slow: bool) -> None:
    """Run the page's snippets in an empty folder that has the repository's data and recipes."""
    for name in VISIBLE:
        (folder / name).symlink_to(ROOT / name)
    marks = {None, "slow"} if slow else {None}
    blocks = [(block.language, block.code) for block in snippets(page) if block.mark in marks]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(blocks),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-6000:]


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages_with(None), ids=name_of)
def test_snippets_run(page, tmp_path):
    run_page(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("slow"), ids=name_of)
def test_slow_snippets_run(page, tmp_path):
    run_page(page, tmp_path, slow=True)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name_of)
def test_every_block_has_a_language(page):
    fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(language for language in fences[::2]), "a fenced block without a language"


@pytest.mark.parametrize("name", GENERATED)
def test_generated_page_is_current(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generate

    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    current = generate.PAGES[name]().rstrip() + "\n"
    assert page == current, "run python docs/generate.py"


def test_api_page_lists_every_name():
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    names = [f"rlhf.{name}" for name in rlhf._EXPORTS]
    functions = {name: getattr(rlhf.ops, name) for name in rlhf.ops.__all__}
    names += [f"rlhf.ops.{name}" for name, item in functions.items() if not get_origin(item)]
    missing = [name for name in names if f"| `{name}(" not in page]
    assert not missing


@pytest.mark.parametrize("word", OVERUSED)
def test_overused_words_are_rare(word):
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCUMENTS)
    words = len(re.findall(r"[A-Za-z']+", text))
    uses = re.findall(rf"\b(?:{OVERUSED[word]})\b", text, re.IGNORECASE)
    assert 1000 * len(uses) / words < LIMIT, f"{len(uses)} times in {words} words"


def test_readme_fits_on_few_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", DOCUMENTS[:3], ids=name_of)
def test_links_of_root_pages_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            assert (ROOT / path).exists(), target
            if anchor and path.endswith(".md"):
                assert anchor in anchors((ROOT / path).read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    pattern = r"`((?:rlhf|tests|recipes|docs|benchmarks)/[a-z][\w./-]+)(?:[:#][\w.]+)?`"
    missing = [path for path in re.findall(pattern, text) if not (ROOT / path).exists()]
    assert not missing


def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the docs extra: make docs")
    pytest.importorskip("mkdocstrings", reason="needs the docs extra: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    assert (tmp_path / "index.html").exists()
