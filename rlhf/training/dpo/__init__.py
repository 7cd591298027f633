"""Direct preference optimization of a policy from rankings and pairs."""
