"""PURE: the user's own tags, checked by the rules of every AWS service that will carry them."""

import unicodedata

from infra.errors import UsageError

MOST_TAGS = 50
OURS = (
    "Name",
    "corral:deployment",
    "corral:order",
    "corral:expires-at",
    "corral:created-by",
    "corral:version",
    "corral:billed",
)
LONGEST_KEY = 128
LONGEST_VALUE = 256
# What IAM takes is the least of them: letters, digits and spaces of any language, and these (botocore 1.44.8).
MARKS = "_.:/=+-@"
EXAMPLE = "For example: --tag team=ml-platform"


def tags_from(given: tuple[str, ...]) -> dict[str, str]:
    """Read KEY=VALUE, each. Raises UsageError for what AWS would refuse, or what would hide a tag of corral's."""
    tags: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--tag {shown(text)} has no '='.", EXAMPLE)
        check_key(key)
        check_value(key, value)
        # IAM holds keys that differ in case for the same.
        if key.casefold() in map(str.casefold, tags):
            raise UsageError(
                f"--tag {shown(key)} is given twice.", "Give each key once; case does not tell keys apart."
            )
        tags[key] = value
    if len(tags) + len(OURS) > MOST_TAGS:
        raise UsageError(
            f"{len(tags)} tags and the {len(OURS)} of corral are more than the {MOST_TAGS} AWS allows.",
            f"Give at most {MOST_TAGS - len(OURS)} with --tag.",
        )
    return tags


def check_key(key: str) -> None:
    """Raise UsageError for a key that is reserved, or that AWS does not take."""
    if key.casefold().startswith(("aws:", "corral:")) or key.casefold() == "name":
        raise UsageError(
            f"--tag {shown(key)}: that key is not the user's to set.", "Use a key of your own: --tag team=ml"
        )
    if not key.strip() or len(key) > LONGEST_KEY:
        raise UsageError(
            f"--tag {shown(key)}: a key has 1 to {LONGEST_KEY} characters, this one {len(key)}.", EXAMPLE
        )
    check_characters(key, key)


def check_value(key: str, value: str) -> None:
    """Raise UsageError for a value that AWS does not take; the scheduler takes no empty one."""
    if not value or len(value) > LONGEST_VALUE:
        raise UsageError(
            f"--tag {shown(key)}: a value has 1 to {LONGEST_VALUE} characters, this one {len(value)}.",
            EXAMPLE,
        )
    check_characters(key, value)


def check_characters(key: str, text: str) -> None:
    """Raise UsageError for a character that a tag may not have."""
    for character in text:
        if character not in MARKS and unicodedata.category(character)[0] not in "LNZ":
            raise UsageError(
                f"--tag {shown(key)}: a tag cannot hold {character!r}.",
                f"Use letters, digits, spaces and {' '.join(MARKS)}",
            )


def shown(text: str) -> str:
    """What was typed, in one short line."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
