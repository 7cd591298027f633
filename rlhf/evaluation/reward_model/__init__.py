"""How good a reward model is, and the gate that PPO must pass."""
