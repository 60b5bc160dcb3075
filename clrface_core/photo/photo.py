"""What a picture is in this library: a tensor, and what it takes to write it back faithfully."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..errors import CLRFaceError
from ..picture import check_picture


@dataclass(frozen=True)
class Metadata:
    """What a file says besides pixels and colours.

    exif: the EXIF block from its byte order mark on, orientation upright, without thumbnail; it holds GPS too.
    xmp: the XMP packet. text: pairs of keyword and text, as PNG has them. dpi: pixels per inch, across and down.
    iptc: the block of agencies and archives (IPTC-IIM): captions, keywords, credits.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = None


@dataclass(frozen=True)
class ColorCoding:
    """What a file says of its colours other than by a profile; nothing stands for sRGB.

    cicp: primaries, transfer, matrix, full range: the numbers of ITU-T H.273 (PNG cICP, AVIF nclx).
    gamma: the exponent of PNG gAMA, such as 0.45455. chromaticities: x and y of white, red, green, blue (PNG cHRM).
    srgb: the rendering intent of PNG sRGB.
    """

    cicp: tuple[int, int, int, int] | None = None
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    srgb: int | None = None


@dataclass(frozen=True)
class Photo:
    """A picture as a tensor, and what it takes to write it back faithfully.

    rgb: (3,H,W) float32 in [0,1]; a grey picture has three equal channels.
    alpha: (H,W) float32 in [0,1], not multiplied into rgb; None where the picture is opaque.
    bits: 8 or 16 per channel.
    grey: the file had one channel. It is written as one again if the three are still equal, as RGB otherwise.
    icc: the colour profile that the values are meant in; None stands for what `coding` says.
    coding, metadata: what else the file said of its colours, and of the photo.
    frames_left_out: how many more frames or pages the file holds. duration: of this frame, in milliseconds.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    coding: ColorCoding = field(default_factory=ColorCoding)
    metadata: Metadata = field(default_factory=Metadata)
    frames_left_out: int = 0
    duration: float | None = None

    def __post_init__(self) -> None:
        check_picture(self.rgb)
        shape = tuple(self.rgb.shape)
        if self.alpha is not None and tuple(self.alpha.shape) != shape[1:]:
            raise CLRFaceError(
                f"Expected an alpha channel of {shape[1:]} like the picture, got {tuple(self.alpha.shape)}: "
                "resize both or drop the alpha."
            )
        if self.bits not in (8, 16):
            raise CLRFaceError(f"Expected 8 or 16 bits per channel, got {self.bits}: choose one of the two.")

    def with_rgb(self, rgb: Tensor) -> Photo:
        """The same picture with other colours: alpha, depth, profile and metadata stay."""
        return replace(self, rgb=rgb)
