"""Stages one after another: skip what is done, go on where it stopped."""
