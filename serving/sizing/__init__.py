"""How big, how fast, how many: a model on a machine as a plan, and a traffic as a fleet of them."""
