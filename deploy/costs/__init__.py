"""Dollars: what the Claude API and other hosts ask, what a machine kept up costs, and the comparison of both."""
