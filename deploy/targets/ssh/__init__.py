"""Machines you own, over SSH."""
