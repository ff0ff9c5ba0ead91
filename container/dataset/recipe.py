"""What becomes of an image that is prepared for training: the size, and how it is encoded."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

# Each process that prepares images imports this module: it must take no time.
if TYPE_CHECKING:
    from container.modeling.settings import Image, Settings


class Recipe(BaseModel):
    """How images are prepared.

    An image becomes the smallest of its own proportions that is at least `height` high and `width` wide; one that is
    not larger stays as it is, byte for byte.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    """Raised where the same recipe comes to mean other pixels."""
    height: int = Field(ge=1)
    """Pixels."""
    width: int = Field(ge=1)
    """Pixels."""
    channels: Literal[1, 3]
    """1: images may have become grey."""
    format: Literal["jpeg", "png"]
    quality: int = Field(ge=1, le=100)
    """Of JPEG."""

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """Return what the settings ask for."""
        side = settings.preparation.short_side
        return cls(
            height=side or settings.image.height,
            width=side or settings.image.width,
            channels=settings.image.channels,
            format=settings.preparation.format,
            quality=settings.preparation.quality,
        )

    def shortage(self, image: "Image") -> str:
        """Return what images of this recipe lack for a model's input, in words; empty: nothing."""
        if self.height < image.height or self.width < image.width:
            return f"are prepared for an input of {self.height}x{self.width}, not of {image.height}x{image.width}"
        if self.channels < image.channels:
            return "are prepared for an input of 1 channel, not of 3"
        return ""
