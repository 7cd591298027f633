"""Pictures of a local folder: only its own image files, only for people who are logged in."""

import os

import httpx
import pytest

from rlhf.labels import people
from rlhf.labels.cli import main
from rlhf.labels.records import Candidate
from rlhf.labels.review import decisions
from rlhf.labels.web.config import LabelServerConfig, WebConfig
from rlhf.labels.web.pictures import MAX_BYTES, Pictures, media_type
from tests.errors import raises
from tests.labels.web_server import serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG, GIF, WEBP = b"\xff\xd8\xff\xe0" + bytes(8), b"GIF89a" + bytes(6), b"RIFF\0\0\0\0WEBP"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
PROMPT = "Which is it?\n\npicture:cat.png and ![two dogs](my%20dogs.jpg), not picture:none.png."


@pytest.fixture
def folder(tmp_path):
    """Two pictures, files of other kinds, and files outside that links lead to."""
    inside = tmp_path / "pictures"
    (inside / "below").mkdir(parents=True)
    (inside / "cat.png").write_bytes(PNG)
    (inside / "my dogs.jpg").write_bytes(JPEG)
    (inside / "drawing.svg").write_bytes(SVG)
    (inside / "page.png").write_bytes(b"<script>alert(1)</script>")
    (inside / ".hidden.png").write_bytes(PNG)
    (inside / "below" / "deep.png").write_bytes(PNG)
    (tmp_path / "outside.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(tmp_path / "outside.png")
    (inside / "same.png").symlink_to(inside / "cat.png")
    (inside / "circle.png").symlink_to(inside / "circle.png")
    return inside


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF, "image/gif"),
        (WEBP, "image/webp"),
        (SVG, None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"", None),
    ],
)
def test_type_is_told_by_the_content(content, kind):
    assert media_type(content[:12]) == kind


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "..",
        ".",
        "",
        "below/deep.png",
        "below",
        "link.png",
        "circle.png",
        "drawing.svg",
        "page.png",
        ".hidden.png",
        "none.png",
        "cat.png\0.txt",
        "cat.png/",
        "./cat.png",
        "x" * 5000,
    ],
)
def test_only_image_files_of_the_folder_itself_are_pictures(folder, name):
    pictures = Pictures(folder)
    assert (pictures.address(name), pictures.read(name)) == (None, None)
    assert Pictures(None).address("cat.png") is None


def test_absolute_path_is_no_picture(folder):
    for path in (folder / "cat.png", folder.parent / "outside.png"):
        assert Pictures(folder).read(str(path)) is None


def test_name_is_quoted_and_a_link_within_the_folder_is_followed(folder):
    pictures = Pictures(folder)
    assert pictures.address("my dogs.jpg") == "/pictures/my%20dogs.jpg"
    assert pictures.read("same.png") == (PNG, "image/png")


def test_address_is_below_the_project(folder):
    pictures = Pictures(folder, "/p/maths")
    assert pictures.address("cat.png") == "/p/maths/pictures/cat.png"
    assert '<img src="/p/maths/pictures/cat.png"' in pictures.render("picture:cat.png")


def test_large_file_is_no_picture(folder):
    with (folder / "cat.png").open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    assert Pictures(folder).address("cat.png") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_no_picture(folder):
    os.mkfifo(folder / "pipe.png")
    assert Pictures(folder).read("pipe.png") is None


def test_prompt_has_its_pictures_and_names_that_are_none_stay_text(folder):
    html = Pictures(folder).render(PROMPT)
    assert '<img src="/pictures/cat.png" alt="cat.png">' in html
    assert '<img src="/pictures/my%20dogs.jpg" alt="two dogs">' in html
    assert "not picture:none.png." in html
    without = Pictures(None).render(PROMPT)
    assert "<img" not in without
    assert "<a" not in without
    assert "picture:cat.png and ![two dogs](my%20dogs.jpg)" in without


@pytest.fixture
def site(tmp_path, folder):
    item = Candidate(prompt=PROMPT, responses=("picture:cat.png", "![x](cat.png)"))
    with serving(tmp_path, [item], web=WebConfig(pictures=folder)) as site:
        yield site


def test_picture_is_sent_with_its_type_to_people_who_are_logged_in(site):
    assert httpx.get(f"{site.address}/pictures/cat.png").status_code == 401
    for name in ("ann", "admin"):
        reply = site.client(name).http.get("/pictures/cat.png")
        assert (reply.content, reply.headers["content-type"]) == (PNG, "image/png")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "img-src 'self'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "..%2Foutside.png",
        "%2e%2e%2foutside.png",
        "..%5Coutside.png",
        "%2e%2e/outside.png",
        "below%2Fdeep.png",
        "link.png",
        "drawing.svg",
        "page.png",
        "cat.png%00",
        "",
    ],
)
def test_other_files_are_not_sent(site, path):
    reply = site.client("ann").http.get(f"{site.address}/pictures/{path}")
    assert reply.status_code in (403, 404)
    assert PNG not in reply.content


def test_prompts_show_pictures_on_every_page_and_responses_do_not(site):
    ann, admin = site.client("ann"), site.client("admin")
    item = ann.next()
    assert "<img" in item["prompt"][0]["html"]
    assert not any("<img" in response["html"] for response in item["answers"])
    page = admin.http.get("/admin/items/1").text
    assert page.count('src="/pictures/cat.png"') == 1
    ann.submit(item, "key-00000001").raise_for_status()
    decisions.contest(site.store, 1, "look again")
    site.token("eve")
    with site.store.write() as connection:
        people.update_person(connection, "eve", role="adjudicator")
    task = site.client("eve").http.get("/api/adjudicate").json()
    assert '<img src="/pictures/cat.png"' in task["turns"][0]["html"]
    assert "<img" not in "".join(task["answers"])


def test_prompts_with_missing_pictures_are_counted(folder, sqlite_store):
    turns = [{"role": "user", "content": "picture:cat.png"}]
    prompts = [PROMPT, turns, "picture:other.png", "![x](https://example.org/x.png)"]
    sqlite_store.add_candidates([Candidate(prompt=p, responses=("a", "b")) for p in prompts])
    assert Pictures(folder).missing(sqlite_store.items()) == (2, "none.png")


def test_folder_that_is_none_is_named_before_the_server_starts(tmp_path):
    with raises("missing-file", "pictures", tmp_path / "none"):
        LabelServerConfig(store="labels.sqlite", pictures=str(tmp_path / "none"))
    with raises("missing-file", "pictures"):
        main(["serve", "--store", str(tmp_path / "s"), "--pictures", str(tmp_path / "none")])
