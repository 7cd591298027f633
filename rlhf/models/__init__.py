"""Backbones, adapters, scalar heads, and the loop that generates."""
