"""`rlhf serve`: an OpenAI-compatible API, and a page to chat on and to inspect responses."""
