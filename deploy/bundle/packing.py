"""What a user asks to have packed into a bundle, and where, beside the plan."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from infra.asked import Flag
from infra.signed import Signing


class Packing(Signing):
    """What goes into a bundle, how it is cut, and where it is made."""

    heading: ClassVar[str] = "What is packed"

    output: Annotated[Path, Flag("--output -o", metavar="FOLDER")]
    """Where to make it."""
    engine: Annotated[Path | None, Flag(metavar="ENV")] = None
    """An environment with vLLM; else the one corral starts here."""
    model: Annotated[Path | None, Flag(metavar="FOLDER")] = None
    """The checkpoint; else the folder the plan names, or its repository, which is fetched."""
    split_gib: Annotated[
        float | None, Flag(metavar="N", shows_limits=True), Field(ge=0.001, examples=[3])
    ] = None
    """Split files larger than that into parts."""
    without_corral: bool = False
    """Leave out the wheels of corral itself; needs no index then."""

    @property
    def split_bytes(self) -> int | None:
        """The largest a stored file may be; None: as large as it is."""
        return round(self.split_gib * 2**30) if self.split_gib else None
