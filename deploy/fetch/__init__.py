"""Weights brought here by name, or by plan, and verified: what `corral fetch` does."""
