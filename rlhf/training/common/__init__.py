"""What all trainers share: checkpoints, metrics, early stopping, manifests, model cards."""
