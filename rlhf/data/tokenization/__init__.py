"""Tokenizers, chat templates, and the one place that renders a conversation to ids."""
