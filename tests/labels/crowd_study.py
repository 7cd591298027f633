"""A study on a crowd platform, and its participants."""

import contextlib

import httpx

from rlhf.labels.crowd import (
    CrowdConfig,
    Participants,
    participants_file,
)
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.config import CrowdStudy, WebConfig
from tests.labels.web_server import candidates, serving

PID, OTHER_PID = "5f3a1c2b9d8e7f6a5b4c3d2e", "600000000000000000000001"
STUDY, SESSION = "61aa00000000000000000001", "62bb00000000000000000002"
LINK = {"PROLIFIC_PID": PID, "STUDY_ID": STUDY, "SESSION_ID": SESSION}
PROLIFIC = CrowdConfig(platform="prolific", completion_code="C1A2B3C4", labels_per_person=2)


@contextlib.contextmanager
def study(folder, config: CrowdConfig = PROLIFIC, items: int = 4):
    """A label server with a study; its participants are in the folder."""
    path = participants_file(str(folder / "labels.sqlite"))
    with contextlib.closing(Participants(path)) as participants:
        web = WebConfig(crowd=CrowdStudy(config=config, participants=participants))
        with serving(folder, candidates(items), QueueConfig(overlap=2), web=web) as site:
            yield site


class Participant:
    """A browser that has opened the platform's link."""

    def __init__(self, site, query) -> None:
        self.http = httpx.Client(base_url=site.address, headers={"origin": site.address})
        self.entered = self.http.post("/crowd", json={"query": query})
        if self.entered.status_code == 200:
            page = self.http.get("/").text
            self.http.headers["x-csrf-token"] = page.split('name="csrf" content="')[1].split('"')[0]

    def label(self, count: int) -> None:
        for _ in range(count):
            item = self.http.post("/api/next", json={}).json()
            form = {"tiers": [4, 3, 2, 1]}
            body = {"claim": item["claim"], "key": f"key-{item['claim']:08}", "seconds": 3.0}
            self.http.post("/api/submit", json={**body, "form": form}).raise_for_status()

    def completion(self) -> dict[str, object]:
        return self.http.get("/api/completion").raise_for_status().json()
