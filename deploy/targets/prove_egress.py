"""`corral egress`: what every place does for it. Completions are asked while somebody looks at what leaves."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from deploy.targets.abilities import ProvesEgress
from deploy.targets.choose import place_called, place_of
from deploy.targets.deployment import Deployment
from deploy.targets.table import PLACES
from infra import deadline, signature
from infra.argument import pasted
from infra.asked import Flag
from infra.egress_proof import NAMESPACE, Egress
from infra.errors import HostError, ServerError, UsageError
from infra.record import removed, write_text_atomically
from infra.signed import Signing
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

DESTINATION = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
COMPLETIONS = 5
COMPLETION_TIMEOUT_S = 60.0
PROOF_S, ATTEMPT_S = 300.0, 15.0
"""For a proof from its begin to its end, and more for each destination that is tried besides."""


def checked_destination(text: str) -> str:
    """A destination as given. Raises UsageError when it is not HOST:PORT."""
    parts = DESTINATION.fullmatch(text)
    if not parts or not 0 < int(parts["port"]) < 65536:
        raise UsageError(f"{text!r} is not HOST:PORT.", "Such as 1.1.1.1:443, or [2606:4700:4700::1111]:443")
    return text


class EgressOptions(Signing):
    """What is tried, and where the report is kept."""

    destinations: Annotated[
        tuple[Annotated[str, AfterValidator(checked_destination)], ...],
        Flag("--target", metavar="HOST:PORT"),
        Field(examples=["1.1.1.1:443"]),
    ] = ()
    """What to try from inside the server's unit; repeat it. [public name servers, and this machine]"""
    output: Annotated[Path | None, Flag("--output -o", metavar="FILE")] = None
    """Keep the report."""

    @model_validator(mode="after")
    def _signed_where_kept(self) -> Self:
        if self.sign_key and not self.output:
            raise UsageError(
                "--sign-key signs a file, and no report is kept.", "Name one: --output egress.json"
            )
        if self.sign_key and self.output:
            written = map(os.path.realpath, (self.output, signature.beside(self.output)))
            if os.path.realpath(self.sign_key) in written:
                raise UsageError(
                    f"The report or its signature would be written over the key {self.sign_key}.",
                    "Name another file: --output egress.json",
                )
        return self


def prove(deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
    """The sealed report. Raises UsageError for a place that has none, ServerError when it does not serve."""
    place = place_of(deployment)
    if not isinstance(place, ProvesEgress):
        raise UsageError(
            f"Egress is proved on these targets: {provers()}; {deployment.name} is on {deployment.target}.",
            f"Where it is locked, too, see it there: nft list table inet corral-{deployment.name}",
        )
    with deadline.within(PROOF_S + len(destinations) * ATTEMPT_S):
        return place.egress(deployment, destinations).sealed()


def keep(report: Egress, path: Path, key: Path | None) -> None:
    """Write the report, and its signature beside it where there is a key. Raises HostError.

    The signature of an earlier report goes: beside this one it would make it look forged.
    """
    beside = signature.beside(path)
    report.write(path)
    if left := removed([beside]):
        raise HostError(
            f"An earlier report's signature is left, and is none of {path}: {left[0]}.",
            f"Remove it: rm {pasted(beside)}",
        )
    if key:
        write_text_atomically(beside, signature.sign(report.text().encode(), key, NAMESPACE))


def provers() -> str:
    """The places where something is looked at, or proved."""
    return ", ".join(name for name in PLACES if isinstance(place_called(name), ProvesEgress))


def ask(endpoint: Endpoint, meanwhile: Callable[[], None] = lambda: None) -> int:
    """Ask real completions; how many were answered. Raises EndpointError for the first that was not."""
    for _ in range(COMPLETIONS):
        client.canary(endpoint, COMPLETION_TIMEOUT_S)
        meanwhile()
    return COMPLETIONS


def not_serving(name: str) -> ServerError:
    """There is nothing to prove anything of."""
    return ServerError(
        f"{name} does not serve, so nothing can be shown of it.", f"Start it: corral serve {name}"
    )
