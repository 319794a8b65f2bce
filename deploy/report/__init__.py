"""What a comparison looks like: text for a terminal, one HTML file for everybody else."""
