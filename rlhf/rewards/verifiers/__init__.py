"""Built-in verifiers: rewards that a program computes, named `verifier:NAME?option=value`."""
