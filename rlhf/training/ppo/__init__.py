"""PPO. Read trainer, rollout, score, experience, update, in that order."""
