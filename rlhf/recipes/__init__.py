"""The recipes behind `rlhf sft`, `rlhf ppo` and the scripts in recipes/: check, train, save."""
