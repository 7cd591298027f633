"""rlhf: take a pretrained language model through RLHF and back again."""

import os

# TRL trainers report usage to their hub unless this is set before huggingface_hub is imported.
# We switch it off for every command and recipe; set it to 0 yourself to switch it on again.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Threads that wait for each other spin by default, which on a busy machine takes the processor
# from the very thread that they wait for. OpenMP, GNU's or LLVM's, reads this when torch is
# imported, so recipes import rlhf before torch. Any of the three that is set stays as it is.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

STARTED_BY = os.getppid()  # asked before seconds of imports, in which a launcher may end

__version__ = "0.1.0"
