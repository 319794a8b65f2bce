"""What the user asks for, step by step: size, provision, serve, probe, compare."""
