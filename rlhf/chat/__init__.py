"""Chat with a policy: in Python, in the terminal, in the browser, and over an OpenAI-style API."""
