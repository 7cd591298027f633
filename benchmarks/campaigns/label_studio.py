"""Label Studio as the driver uses it: its documented REST API, with a session as in a browser.

Started as its documentation says: `label-studio start`, with its SQLite database. Annotators sign
up with the invitation link of the organization.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.campaigns.process import ServerProcess
from benchmarks.campaigns.tool import RESPONSES, Label, checked, new_folder
from benchmarks.options import version_of

OWNER, PASSWORD = "owner@example.com", "a-long-pass-phrase-1"
PAGE = """<View>
  <Text name="prompt" value="$item"/>
  <List name="responses" value="$responses" title="Responses"/>
  <Ranker name="ranking" toName="responses"/>
</View>"""
# Nothing is sent to the vendor.
ENVIRONMENT = {"COLLECT_ANALYTICS": "0", "LATEST_VERSION_CHECK": "0", "SENTRY_DSN": ""}


class LabelStudio:
    """A project on a SQLite database, the default.

    environment: folder of the Python environment that has `label-studio`.
    """

    def __init__(self, folder: Path, port: int, environment: Path) -> None:
        self.name = version_of(str(environment / "bin" / "python"), "label-studio")
        self._folder = new_folder(folder, "label_studio")
        program = str(environment / "bin" / "label-studio")
        self._command = [program, "start", "--no-browser", "--port", str(port)]
        self._command += ["--data-dir", str(self._folder)]
        self._command += ["--username", OWNER, "--password", PASSWORD]
        self._address = f"http://127.0.0.1:{port}"

    @contextmanager
    def project(
        self, items: Sequence[str], annotators: Sequence[str], overlap: int
    ) -> Iterator[ServerProcess]:
        with ServerProcess(
            self._command, self._address, folder=self._folder, environment=ENVIRONMENT
        ) as server:
            self._owner = Browser(self._address, OWNER)
            self._owner.log_in()
            project = {"title": "hammer", "label_config": PAGE, "maximum_annotations": overlap}
            self._project = self._owner.send("POST", "/api/projects/", project).json()["id"]
            tasks = [_task(item) for item in items]
            self._owner.send("POST", f"/api/projects/{self._project}/import", tasks)
            link = self._owner.send("GET", "/api/invite").json()["invite_url"]
            for name in annotators:
                Browser(self._address, _email(name)).sign_up(link)
            yield server

    def annotator(self, name: str) -> "LabelStudioAnnotator":
        return LabelStudioAnnotator(name, self._project, Browser(self._address, _email(name)))

    def stored_labels(self) -> list[Label]:
        users = self._owner.send("GET", "/api/users/").json()
        names = {user["id"]: user["email"].split("@")[0] for user in users}
        path = f"/api/projects/{self._project}/export?exportType=JSON"
        return [
            Label(names[annotation["completed_by"]], task["data"]["item"], _order(annotation))
            for task in self._owner.send("GET", path).json()
            for annotation in task["annotations"]
        ]


class Browser:
    """A browser with the cookies of one person."""

    def __init__(self, address: str, email: str) -> None:
        self._email = email
        self._http = httpx.Client(base_url=address, follow_redirects=True, timeout=120.0)

    def sign_up(self, link: str) -> None:
        """Make an account with an invitation link."""
        self._send_form(link)

    def log_in(self) -> None:
        self._http.cookies.clear()
        self._send_form("/user/login/")

    def send(self, method: str, path: str, body: object = None) -> httpx.Response:
        """The answer to a request of the API; raises for every status that is no success."""
        return checked(self.try_send(method, path, body)).raise_for_status()

    def try_send(self, method: str, path: str, body: object = None) -> httpx.Response:
        """The answer to a request of the API, whatever its status."""
        headers = {"x-csrftoken": self._http.cookies.get("csrftoken") or ""}
        return self._http.request(method, path, json=body, headers=headers)

    def _send_form(self, path: str) -> None:
        checked(self._http.get(path)).raise_for_status()
        token = self._http.cookies["csrftoken"]
        form = {"email": self._email, "password": PASSWORD, "csrfmiddlewaretoken": token}
        checked(self._http.post(path, data=form)).raise_for_status()


class LabelStudioAnnotator:
    """The requests of the labelling page."""

    def __init__(self, name: str, project: int, browser: Browser) -> None:
        self.name = name
        self._project, self._browser = project, browser
        self._tasks: dict[str, int] = {}  # item -> id of its task

    def log_in(self) -> None:
        self._browser.log_in()

    def next_item(self) -> str | None:
        response = checked(self._browser.try_send("GET", f"/api/projects/{self._project}/next/"))
        if response.status_code == 404:
            return None  # nothing is left, or others hold what is left
        task = response.raise_for_status().json()
        item = str(task["data"]["item"])
        self._tasks[item] = task["id"]
        return item

    def submit(self, item: str, order: Sequence[str]) -> bool:
        result = {
            "from_name": "ranking",
            "to_name": "responses",
            "type": "ranker",
            "value": {"ranker": {"ranking": list(order)}},
        }
        path = f"/api/tasks/{self._tasks[item]}/annotations/?project={self._project}"
        body = {"result": [result], "lead_time": 1.0, "was_cancelled": False}
        return checked(self._browser.try_send("POST", path, body)).status_code == 201


def _task(item: str) -> dict[str, object]:
    responses = [{"id": name, "title": name, "body": f"{item} {name}"} for name in RESPONSES]
    return {"data": {"item": item, "responses": responses}}


def _email(name: str) -> str:
    return f"{name}@example.com"


def _order(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(annotation["result"][0]["value"]["ranker"]["ranking"])
