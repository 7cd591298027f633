"""The page of an adjudicator: contested items, first without and then with the labels."""

from collections.abc import Mapping, Sequence

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from rlhf.labels.queries import item_of
from rlhf.labels.queue import Queue
from rlhf.labels.records import StoredLabel
from rlhf.labels.review.adjudication import Ruling, Task, next_task, order_shown, rule
from rlhf.labels.review.browse import read_row
from rlhf.labels.review.history import Histories
from rlhf.labels.web.item_view import turns_of
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.request_schemas import RulingRequest
from rlhf.web.markdown import render


def add_adjudication(
    app: FastAPI,
    queue: Queue,
    pages: jinja2.Environment,
    histories: Histories,
    pictures: Pictures,
) -> None:
    """Add the routes of adjudicators; the guard lets nobody else in."""
    store = queue.store

    def next_view(request: Request) -> Mapping[str, object]:
        name = request.scope["session"].name
        task = next_task(store, histories.get(), name, queue.config)
        if task is not None:
            request.scope["audit"]["item_id"] = task.item.id
            request.scope["audit"]["labels_shown"] = [one.event_id for one in task.labels]
        return task_view(task, pictures)

    @app.get("/adjudicate", response_class=HTMLResponse)
    def page(request: Request) -> str:
        return pages.get_template("adjudicate.html").render(
            csrf=request.scope["session"].csrf, name=request.scope["session"].name
        )

    @app.get("/api/adjudicate")
    def next_item(request: Request) -> Mapping[str, object]:
        return next_view(request)

    @app.post("/api/adjudicate")
    def submit(request: Request, body: RulingRequest) -> Mapping[str, object]:
        name = request.scope["session"].name
        item = item_of(read_row(store, body.item))
        order = order_shown(item, name, queue.config.seed)
        if len(body.ranks) != len(order):
            raise HTTPException(422, f"give each of the {len(order)} responses a rank")
        ranks = [0] * len(order)
        for rank, index in zip(body.ranks, order, strict=True):
            ranks[index] = rank
        ruling = Ruling(
            item_id=body.item,
            ranks=ranks,
            comment=body.comment,
            seconds=body.seconds,
            guideline_version=store.newest_guideline()[0],
        )
        rule(store, name, ruling, queue.config, request_key=body.key)
        return next_view(request)


def task_view(task: Task | None, pictures: Pictures) -> dict[str, object]:
    """The JSON that the page reads: responses in the order shown, nobody's name."""
    if task is None:
        return {"item": None, "left": 0}
    return {
        "item": task.item.id,
        "left": task.left,
        "turns": turns_of(task.item, pictures),
        "answers": [render(task.item.responses[index]) for index in task.order_shown],
        "blind": None if task.blind is None else in_order(task.blind.ranks, task.order_shown),
        "comment": "" if task.blind is None else task.blind.extra.get("comment", ""),
        "labels": [label_view(label, task.order_shown) for label in task.labels],
    }


def label_view(label: StoredLabel, order: Sequence[int]) -> dict[str, object]:
    """A label without its annotator's name."""
    flags = label.extra.get("flags")
    by_response = flags if isinstance(flags, list) else [[] for _ in order]
    return {
        "ranks": in_order(label.ranks, order),
        "flags": [by_response[index] for index in order],
        "comment": label.extra.get("comment", ""),
        "strength": label.strength,
    }


def in_order(values: Sequence[int], order: Sequence[int]) -> list[int]:
    """Values of the stored responses, in the order shown."""
    return [values[index] for index in order]
