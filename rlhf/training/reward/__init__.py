"""Reward models from pairs and from K-way rankings with ties."""
