"""Engines that sample the responses of PPO."""
