"""Routes of annotators' questions to the researcher."""

from collections.abc import Mapping

from fastapi import FastAPI, Request

from rlhf.labels import claim_queries
from rlhf.labels.review import questions
from rlhf.labels.store import LabelStore
from rlhf.labels.web.request_schemas import QuestionRequest
from rlhf.web.markdown import render


def add_questions(app: FastAPI, store: LabelStore) -> None:
    """Add the routes below /api/questions."""

    @app.post("/api/questions")
    def ask(request: Request, body: QuestionRequest) -> Mapping[str, int]:
        name = request.scope["session"].annotator
        item_id = None
        if body.claim is not None:
            with store.read() as connection:
                claim = claim_queries.own(connection, name, body.claim)
            item_id = None if claim is None else claim.item_id
        return {"question": questions.ask(store, name, body.text, item_id)}

    @app.get("/api/questions")
    def own(request: Request) -> Mapping[str, object]:
        asked = questions.questions_of(store, request.scope["session"].annotator)
        return {
            "questions": [
                {
                    "text": one.text,
                    "answer": None if one.answer is None else render(one.answer),
                    "answered_at": one.answered_at,
                }
                for one in asked
            ]
        }
