"""What the running command line says of corral itself; it imports nothing, so that the help is instant."""

before_the_verb: list[str] = []
"""The words that stand before its verb, such as --offline; every command printed to be run next says them again."""
