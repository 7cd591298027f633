"""What the driver needs of a labelling tool and of an annotator who uses it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

RESPONSES = ("A", "B", "C", "D")  # names of an item's responses


@dataclass(frozen=True)
class Label:
    """A ranking of an item's responses."""

    annotator: str
    item: str
    order: tuple[str, ...]  # names of the responses, the best first


class ServerError(Exception):
    """The server answered with a status of 500 or above."""


class LoggedOut(Exception):
    """The server does not know the annotator's session any more."""


class Annotator(Protocol):
    """One person in a browser of their own.

    A method may raise httpx.TransportError, ServerError or LoggedOut; the driver then calls it
    again, as a person presses a button again.
    """

    name: str

    def log_in(self) -> None: ...

    def next_item(self) -> str | None:
        """The item on the screen; None if there is nothing to do at present."""

    def submit(self, item: str, order: Sequence[str]) -> bool:
        """Whether the tool accepted the ranking."""


class Server(Protocol):
    """A tool's server."""

    def start(self) -> None: ...

    def kill(self) -> None:
        """End it with SIGKILL."""

    def output(self) -> str:
        """What it has printed so far."""


class Tool(Protocol):
    """A labelling tool with one project."""

    name: str  # with its version

    def project(
        self, items: Sequence[str], annotators: Sequence[str], overlap: int
    ) -> AbstractContextManager[Server]:
        """The running server of a new project with `overlap` annotators per item; ends it."""

    def annotator(self, name: str) -> Annotator: ...

    def stored_labels(self) -> list[Label]:
        """Every label that a researcher gets from the tool; the server runs."""


def new_folder(folder: Path, name: str) -> Path:
    """A new folder for a tool's data.

    Raises:
        FileExistsError: it is there; its labels would be counted as new ones.
    """
    path = folder.resolve() / name
    path.mkdir(parents=True)
    return path


def checked(response: httpx.Response) -> httpx.Response:
    """The response, unless its status is that of a failed server or of an ended session."""
    if response.status_code >= 500:
        raise ServerError(f"{response.request.url}: {response.status_code}")
    if response.status_code == 401:
        raise LoggedOut
    return response
