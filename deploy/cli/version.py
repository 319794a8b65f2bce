"""`corral version`: which corral this is."""


def version() -> None:
    """Print the version of corral."""
    from importlib.metadata import version as version_of

    from infra.say import say

    say(f"corral {version_of('corral')}")
