"""What people say about answers: the store, simulated annotators, import and export."""
