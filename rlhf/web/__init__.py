"""The web layer that the label page and the chat server share: request guard, sockets, Markdown."""
