"""The benchmark that kills servers of labelling tools: its counts, and a run with our server."""

import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from benchmarks.campaigns import kills as kills_module
from benchmarks.campaigns.__main__ import row
from benchmarks.campaigns.hammer import Losses, Outcome, Plan, hammer, losses
from benchmarks.campaigns.rlhf_server import RlhfServer
from benchmarks.campaigns.tool import Label, LoggedOut, ServerError
from tests.ports import free_port


def counted(accepted, **others):
    """Losses with 0 for what is not named."""
    return Losses(
        **{"lost": 0, "changed": 0, "doubled": 0, "asked_again": 0, "beyond": 0, **others},
        accepted=accepted,
    )


def test_losses_of_each_kind_are_counted():
    """With one annotator planned per item: item 2 is lost, 3 has another order, 4 is stored twice,
    5 was labelled twice by one person, and 6 by two persons.
    """
    accepted = [Label("a", item, ("A", "B")) for item in "12345"]
    accepted += [Label("a", "5", ("B", "A")), Label("a", "6", ("A", "B"))]
    accepted += [Label("b", "6", ("A", "B"))]
    stored = [
        *(Label("a", "1", ("A", "B")), Label("a", "3", ("B", "A"))),
        *(Label("a", "4", ("A", "B")), Label("a", "4", ("A", "B"))),
        *(Label("a", "5", ("B", "A")), Label("a", "6", ("A", "B")), Label("b", "6", ("A", "B"))),
    ]
    assert losses(accepted, stored, overlap=1) == Losses(
        accepted=7, lost=1, changed=1, doubled=1, asked_again=1, beyond=1
    )


class ForgetfulTool:
    """A tool in memory that loses the last label at each kill.

    kill_at: numbers of labels that wait for one more kill; without that the annotators would be
        done before the first one.
    drops_reply: whether the first label is stored without a reply.
    """

    name = "forgetful 1.0"

    def __init__(self, *, kill_at=(), drops_reply=False) -> None:
        self.kill_at, self.drops_reply = kill_at, drops_reply
        self.changed = threading.Condition()
        self.stored: list[Label] = []
        self.submitted = self.kills = 0
        self.log = ""

    @contextmanager
    def project(self, items, annotators, overlap):
        self.items = items
        try:
            yield self
        finally:
            self.is_closed = True

    def start(self):
        self.log += "started\ndatabase is locked\n"

    def output(self):
        return self.log

    def kill(self):
        with self.changed:
            self.stored.pop()
            self.kills += 1
            self.changed.notify_all()

    def annotator(self, name):
        return ForgetfulAnnotator(self, name)

    def stored_labels(self):
        return list(self.stored)

    def store(self, label):
        with self.changed:
            self.submitted += 1
            due = sum(self.submitted >= number for number in self.kill_at)
            assert self.changed.wait_for(lambda: self.kills >= due, timeout=20)
            self.stored.append(label)
            if self.drops_reply:
                self.drops_reply = False
                raise ServerError


class ForgetfulAnnotator:
    def __init__(self, tool, name):
        self.tool, self.name, self.done = tool, name, 0

    def log_in(self):
        pass

    def next_item(self):
        return self.tool.items[self.done] if self.done < len(self.tool.items) else None

    def submit(self, item, order):
        self.tool.store(Label(self.name, item, tuple(order)))
        self.done += 1
        return True


def test_labels_that_a_tool_loses_at_kills_are_found():
    """Of 20 labels, the driver kills after the 7th and the 14th; each kill loses one."""
    plan = Plan(annotators=2, items=10, overlap=2, kills=2)
    outcome = hammer(ForgetfulTool(kill_at=(10, 17)), plan)
    assert outcome.kills == 2
    assert outcome.losses == counted(accepted=20, lost=2)
    assert outcome.locked == 2  # lines, of which each start wrote one


def test_request_that_is_stored_again_without_a_reply_is_found():
    plan = Plan(annotators=2, items=10, overlap=2, kills=0)
    outcome = hammer(ForgetfulTool(drops_reply=True), plan)
    assert outcome.failures == Counter(server_errors=1)
    assert outcome.losses == counted(accepted=20, doubled=1)


class BrokenAnnotator(ForgetfulAnnotator):
    """An annotator whose third submission fails in an unforeseen way."""

    def submit(self, item, order):
        if self.done == 2:
            raise KeyError("claim")
        return super().submit(item, order)


def test_error_of_an_annotator_ends_the_run(monkeypatch):
    """The other annotator has not finished, and the tool's server is ended."""
    tool = ForgetfulTool()
    monkeypatch.setattr(
        tool,
        "annotator",
        lambda name: (BrokenAnnotator if name == "person00" else ForgetfulAnnotator)(tool, name),
    )
    with pytest.raises(KeyError, match="claim"):
        hammer(tool, Plan(annotators=2, items=10, overlap=2, kills=0))
    assert tool.is_closed


class LoggedOutAnnotator(ForgetfulAnnotator):
    """An annotator whose session ends after each login."""

    def submit(self, item, order):
        raise LoggedOut


def test_run_ends_if_every_session_ends_at_once(monkeypatch):
    for name in ("STALLED", "GRACE"):
        monkeypatch.setattr(kills_module, name, 0.3)
    tool = ForgetfulTool()
    monkeypatch.setattr(tool, "annotator", lambda name: LoggedOutAnnotator(tool, name))
    outcome = hammer(tool, Plan(annotators=2, items=10, overlap=2, kills=0))
    assert outcome.losses == counted(accepted=0)
    assert set(outcome.failures) == {"logged_out"}


@pytest.mark.parametrize("kills", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_our_server_loses_no_label(tmp_path, kills):
    plan = Plan(annotators=4, items=30, overlap=2, kills=kills)
    outcome = hammer(RlhfServer(tmp_path, free_port()), plan)
    assert outcome.kills == kills
    assert outcome.losses == counted(accepted=60)


def test_row_of_the_table():
    counts = Losses(accepted=1200, lost=1, changed=2, asked_again=3, doubled=4, beyond=5)
    outcome = Outcome(
        losses=counts,
        kills=20,
        failures=Counter(server_errors=6, no_reply=70),
        label_ms=8.4,
        locked=9,
        seconds=90.6,
    )
    assert row(ForgetfulTool(), outcome) == (
        "| forgetful 1.0 | 20 | 1,200 | 1 | 2 | 3 | 4 | 5 | 6 | 9 | 8 | 91 |"
    )
