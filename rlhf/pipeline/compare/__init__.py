"""Compare methods of policy training on the same labels: `rlhf compare`."""
