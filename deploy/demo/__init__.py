"""The whole line on this machine: the real engine and a tiny model."""
