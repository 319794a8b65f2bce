"""PURE: the names that people, platforms and routers give a Claude model, taken apart: model, platform, region."""

import re
from typing import NamedTuple

ZONE = r"[a-z]+(?:-[a-z]+)*-?[0-9]+"
BEDROCK = r"(?:(?P<profile>[a-z]+(?:-[a-z]+)*)\.)?anthropic\.(?P<model>claude[^/]*)"
FORMS = tuple(
    (re.compile(pattern), platform)
    for pattern, platform in (
        (
            rf"(?:bedrock/)?(?:converse/)?arn:aws[a-z-]*:bedrock:(?P<zone>[a-z0-9-]*):[0-9]*:[a-z-]+/{BEDROCK}",
            "bedrock",
        ),
        (rf"(?:bedrock/)?(?:(?:converse|invoke)/)?(?:(?P<zone>{ZONE})/)?{BEDROCK}", "bedrock"),
        (r"bedrock/(?:(?P<zone>[a-z0-9-]+)/)?(?P<model>claude[^/]*)", "bedrock"),
        (
            r"(?:projects/[^/]+/)?(?:locations/(?P<zone>[^/]+)/)?publishers/anthropic/models/(?P<model>claude[^/]*)",
            "vertex",
        ),
        (r"vertex(?:_ai)?/(?:(?P<zone>[a-z0-9-]+)/)?(?P<model>claude[^/]*)", "vertex"),
        (r"(?P<model>claude[^/@]*)@[a-z0-9]+", "vertex"),
        (r"(?:aws|(?:bedrock/)?claude_platform)/(?:(?P<zone>[a-z0-9-]+)/)?(?P<model>claude[^/]*)", "aws"),
        (r"(?:foundry|azure|azure_ai)/(?:(?P<zone>[a-z0-9-]+)/)?(?P<model>claude[^/]*)", "foundry"),
    )
)
# What a platform adds to the model's own name: Bedrock's version and context, Vertex's version, Claude Code's context.
ADDED = re.compile(r"(?:-v[0-9]+(?::[0-9]+)?(?::[0-9]+k)?|@[a-z0-9]+|\[[0-9]+m\])+$")
IN_REGION = "in-region"
"""Where a model of Bedrock is asked by its bare name: in the caller's own region, whichever that is."""


class Named(NamedTuple):
    """A name taken apart. Platform and region are None where the name does not say them."""

    model: str
    platform: str | None = None
    region: str | None = None


def named(text: str) -> Named:
    """What a name says: `eu.anthropic.claude-sonnet-5-5` is claude-sonnet-5-5, of Bedrock, in the EU."""
    word = re.sub(r"\[[0-9]+m\]$", "", text.strip().lower())
    for form, platform in FORMS:
        if found := form.fullmatch(word):
            return Named(ADDED.sub("", found["model"]), platform, region_in(found))
    return Named(ADDED.sub("", word) if word.startswith(("claude", "anthropic/claude")) else word)


def region_in(found: re.Match[str]) -> str | None:
    """The region in a name: of Bedrock its profile's, else the one it is asked in, else the caller's own."""
    parts = found.groupdict()
    if "profile" not in parts:
        return parts.get("zone")
    return parts["profile"] or parts.get("zone") or IN_REGION
