"""What every web server of the package shares: the request guard, sockets, Markdown."""
