"""Kahneman-Tversky optimization of a policy from thumbs up and down."""
