"""One vLLM server's life: its options and version, its engine, its start, its health, its end."""
