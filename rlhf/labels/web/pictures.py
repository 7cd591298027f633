"""Pictures of a local folder that prompts name; the server shows them to people who logged in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from rlhf.labels.records import Item
from rlhf.web.markdown import render
from rlhf.web.picture_links import picture_names
from rlhf.web.sanitizer import PICTURES

MAX_BYTES = 20 * 2**20
START = 12  # bytes that tell the type of a file


def media_type(start: bytes) -> str | None:
    """The type of an image by its first bytes; None for other files. SVG may contain scripts."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    return None


@dataclass(frozen=True)
class Pictures:
    """The pictures in a folder, without those in folders below it."""

    folder: Path | None = None  # None: no pictures are shown
    base: str = ""  # what the paths of the app's pages begin with

    def render(self, prompt: str) -> str:
        """A prompt as HTML with its pictures; a name that is no picture stays text."""
        return render(prompt, self.address)

    def address(self, name: str) -> str | None:
        """The address of a picture on the page; None: there is none of this name."""
        path = self._file(name)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                known = media_type(file.read(START))
        except OSError:
            return None
        return f"{self.base}{PICTURES}{quote(name, safe='')}" if known else None

    def read(self, name: str) -> tuple[bytes, str] | None:
        """(content, media type) of a picture; None: there is none of this name."""
        path = self._file(name)
        try:
            content = b"" if path is None else path.read_bytes()
        except OSError:
            return None
        known = media_type(content[:START])
        return (content, known) if known else None

    def missing(self, items: Sequence[Item]) -> tuple[int, str]:
        """Number of items whose prompt names a picture that is not there, and the first name."""
        found = [name for item in items if (name := self._first_missing(item))]
        return len(found), found[0] if found else ""

    def _first_missing(self, item: Item) -> str:
        turns = [item.prompt] if isinstance(item.prompt, str) else [
            turn["content"] for turn in item.prompt
        ]  # fmt: skip
        names = [name for text in turns for name in picture_names(text)]
        return next((name for name in names if self.address(name) is None), "")

    def _file(self, name: str) -> Path | None:
        """The file of this name if it is in the folder itself, also after links are followed."""
        if self.folder is None or not name or name != Path(name).name or name[0] == ".":
            return None
        try:
            path = (self.folder / name).resolve(strict=True)
            is_own = path.parent == self.folder.resolve() and path.is_file()
            return path if is_own and path.stat().st_size <= MAX_BYTES else None
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
            return None


def add_picture_route(app: FastAPI, pictures: Pictures) -> None:
    """Add the route of the pictures."""

    @app.get(PICTURES + "{name}")
    def picture(name: str) -> Response:
        found = pictures.read(name)
        if found is None:
            raise HTTPException(404, "there is no such picture")
        content, kind = found
        return Response(content, media_type=kind)
