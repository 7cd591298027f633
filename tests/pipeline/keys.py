"""Keys of a pipeline, for tests that read none of its files."""

KEYS = {
    "model_name_or_path": "model",
    "demonstrations": "d.jsonl",
    "ppo_prompts": "p.jsonl",
    "heldout_prompts": "h.jsonl",
    "ranking_prompts": "r.jsonl",
    "annotators": "a.yaml",
    "gold": "g.py:f",
}
