"""Rows: read them, check them, render them as chat, make token batches of them."""
