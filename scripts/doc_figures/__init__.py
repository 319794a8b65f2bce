"""The figures of docs/explanation, drawn from corral's own model."""
