"""The label page: a web app over one label store."""
