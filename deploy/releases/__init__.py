"""A deployment's releases: the next one tried beside the accepted one, then kept or taken back."""
