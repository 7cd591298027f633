"""The public arena: two models answer a question, and visitors vote without their names."""
