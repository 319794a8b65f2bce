"""The air-gap bundle: a folder that carries a plan's engine, model and corral itself to a machine without network."""
