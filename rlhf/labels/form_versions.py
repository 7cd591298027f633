"""Versions of the label form: what each label was asked, however the form is edited later."""

import hashlib
import json

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.database import new_id
from rlhf.labels.form_config import FormConfig, as_json, parse_form
from rlhf.labels.schema import forms


def add_form(connection: sa.Connection, form: FormConfig) -> int:
    """The version of this form, 1 for the first; a known form keeps its version."""
    content = json.dumps(as_json(form), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    known = connection.scalar(sa.select(forms.c.version).where(forms.c.sha256 == digest))
    if known is not None:
        return int(known)
    return new_id(connection, sa.insert(forms).values(sha256=digest, content=json.loads(content)))


def form_of(connection: sa.Connection, version: int) -> FormConfig:
    """The form of a version; raises `DataError` for an unknown version."""
    content = connection.scalar(sa.select(forms.c.content).where(forms.c.version == version))
    if content is None:
        raise DataError(f"the store has no form of version {version}.", code="unknown-name")
    return parse_form(dict(content))


def forms_of(connection: sa.Connection) -> dict[int, FormConfig]:
    """Version -> form."""
    rows = connection.execute(sa.select(forms.c.version, forms.c.content))
    return {row.version: parse_form(dict(row.content)) for row in rows}
