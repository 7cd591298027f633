"""The researcher's side of labelling: items, decisions about them, progress, adjudication."""
