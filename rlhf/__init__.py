"""rlhf: take a pretrained language model through RLHF and back again."""

import os

# TRL trainers report usage to their hub unless this is set before huggingface_hub is imported.
# We switch it off for every command and recipe; set it to 0 yourself to switch it on again.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
