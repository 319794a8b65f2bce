"""PURE: what an image makes of a prompt: how many tiles of the tower's size, and how many tokens.

Llama 4's processor, as vLLM asks for it (transformers 5.x, image_processing_llama4.py and processing_llama4.py, read
2026-11-29): the image is laid on the canvas of up to so many tiles that changes its size least, upwards if any does;
more than one tile are followed by a view of the whole. The released checkpoints leave the number of tiles as it is.
"""

from dataclasses import dataclass
from fractions import Fraction

from serving.model.models import Vision

AROUND = 3
"""Tokens beside those of tiles: the image's start, the mark before the view of the whole, its end."""


@dataclass(frozen=True, slots=True)
class Image:
    """What one image is to the model."""

    tiles: int
    """With the view of the whole."""
    tokens: int


def image_of(v: Vision, most_tiles: int, size: tuple[int, int] | None = None) -> Image:
    """An image of that width and height; the largest there is without one."""
    tiles = tiles_of(*size, v.image_size, most_tiles) if size else most_tiles
    each = round((v.image_size // v.patch_size) ** 2 * v.pixel_shuffle_ratio**2)
    if tiles == 1:
        return Image(1, each + AROUND)
    return Image(tiles + 1, tiles * (each + 1) + each + AROUND)  # a separator follows each tile


def tiles_of(width: int, height: int, side: int, most: int) -> int:
    """The tiles of the canvas that an image of that size is laid on."""
    canvases = [
        (rows, tiles // rows)
        for tiles in range(1, most + 1)
        for rows in range(1, tiles + 1)
        if not tiles % rows
    ]
    scales = {
        (rows, columns): min(Fraction(columns * side, width), Fraction(rows * side, height))
        for rows, columns in canvases
    }
    upwards = [scale for scale in scales.values() if scale >= 1]
    best = min(upwards) if upwards else max(scales.values())
    return min(rows * columns for (rows, columns), scale in scales.items() if scale == best)
