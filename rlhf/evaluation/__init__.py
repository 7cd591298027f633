"""How good a model is, with intervals: win rates, KL, reward-model accuracy."""
