"""PURE: the images that were asked for with each request, as the model sees them."""

from dataclasses import dataclass

from infra.errors import UsageError
from serving.model.image_tokens import Image, image_of
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel


@dataclass(frozen=True, slots=True)
class AskedImages:
    """So many equal images."""

    count: int
    image: Image

    @property
    def tokens(self) -> int:
        """Of all of them, which come on top of a prompt's words."""
        return self.count * self.image.tokens


def asked_images(subject: SizedModel, options: Options) -> AskedImages | None:
    """The images of each request; None where none were asked for. Raises UsageError for a model that takes none."""
    if options.images_per_request is None:
        return None
    vision, tiles = subject.architecture.vision, subject.family.image_tiles
    if vision is None or options.language_model_only:
        why = "--language-model-only leaves its tower out" if vision else "it has no vision tower"
        raise UsageError(f"{subject.title} takes no images: {why}.", "Leave out --images-per-request.")
    if not tiles:
        raise UsageError(
            f"corral does not know how {subject.family.title} cuts images into tokens.",
            "Count them into --input-tokens.",
        )
    count, _, size = options.images_per_request.partition("@")
    width, _, height = size.partition("x")
    return AskedImages(int(count), image_of(vision, tiles, (int(width), int(height)) if size else None))


def image_tokens(subject: SizedModel, options: Options) -> int:
    """Tokens that the images of a request are; 0 where none were asked for. Raises UsageError."""
    asked = asked_images(subject, options)
    return asked.tokens if asked else 0


def with_images(subject: SizedModel, options: Options) -> Options:
    """The options with the images among the input tokens. Raises UsageError."""
    tokens = image_tokens(subject, options)
    return options.model_copy(update={"input_tokens": options.input_tokens + tokens}) if tokens else options
