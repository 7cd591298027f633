"""The page of the guideline: edit it, compare its versions, answer questions of annotators."""

from collections.abc import Mapping
from typing import Annotated

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from rlhf.labels import guidelines
from rlhf.labels.review import questions
from rlhf.labels.store import LabelStore
from rlhf.labels.web.request_schemas import AnswerRequest, GuidelineRequest
from rlhf.web.markdown import render

Version = Annotated[int, Query(ge=0, le=2**31 - 1)]


def add_guideline_page(app: FastAPI, store: LabelStore, pages: jinja2.Environment) -> None:
    """Add the routes of the guideline and of questions."""

    @app.get("/admin/guideline", response_class=HTMLResponse)
    def page(request: Request, old: Version = 0, new: Version = 0) -> str:
        with store.read() as connection:
            current, text = guidelines.newest_guideline(connection)
            versions = guidelines.guideline_versions(connection)
            compared = None
            if old in versions and new in versions:
                texts = [guidelines.guideline_text(connection, one) for one in (old, new)]
                compared = guidelines.guideline_diff(texts[0], texts[1])
        return pages.get_template("guideline.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            current=current,
            text=text,
            html=render(text),
            versions=versions,
            old=old,
            new=new,
            compared=compared,
            questions=questions.questions_of(store),
        )

    @app.post("/admin/guideline")
    def publish(body: GuidelineRequest) -> Mapping[str, int]:
        with store.write() as connection:
            return {"version": guidelines.publish_guideline(connection, body.text, body.base)}

    @app.post("/admin/answer")
    def answer(body: AnswerRequest) -> Mapping[str, int]:
        version = questions.answer(store, body.question, body.text, in_guideline=body.in_guideline)
        return {"version": version}
