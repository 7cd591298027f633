"""Roles of a person; `web/permissions.py` says what each may do."""

ANNOTATOR, ADJUDICATOR, RESEARCHER, ADMIN = "annotator", "adjudicator", "researcher", "admin"
ROLES = (ANNOTATOR, ADJUDICATOR, RESEARCHER, ADMIN)
