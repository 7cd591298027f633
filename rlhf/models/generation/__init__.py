"""Sample responses: prefill, decode loop, KV cache, sampling noise, CUDA graphs."""
