"""One conversation engine and the front ends over it."""
