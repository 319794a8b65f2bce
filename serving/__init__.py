"""What the model needs, and how vLLM is started, watched, asked and measured."""
