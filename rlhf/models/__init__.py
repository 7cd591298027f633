"""Load, save and run language models, reward models, LoRA adapters and critics."""
