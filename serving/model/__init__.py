"""What a model needs: its checkpoint, weights, KV cache, memory and speed."""
