"""The model's autoencoder as ComfyUI's own nodes use a VAE."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..clrface_core.errors import CLRFaceError
from .progress import Progress
from .tensors import as_pictures, blank, check_image, latents_of


class HostVAE:
    """Pictures (B,H,W,3) in [0,1] to latents (B,C,h,w) and back.

    Decoding quantises first, which is what the decoder was trained for; of a latent that holds the degraded face's as
    well (see `tensors`), the first is decoded.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        config = model.bundle.vq.config
        self.latent_channels = config.embed_dim
        self.downscale_ratio = self.upscale_ratio = config.compression

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Latents of pictures, cut to whole latents around their centre as ComfyUI does."""
        pixels = pixel_samples[..., :3] if isinstance(pixel_samples, Tensor) else pixel_samples
        check_image(pixels, "pixels")
        images = crop_to_multiple(pixels, self.downscale_ratio)
        faces = self._model.faces()
        height, width = (extent // self.downscale_ratio for extent in images.shape[1:3])
        latents = blank(len(images), self.latent_channels, height, width)
        progress = Progress(len(images))
        for index, image in enumerate(images):
            latents[index] = faces.encode(as_pictures(image)[None])[0].to(latents)
            progress.advance(1)
        return latents

    def decode(self, samples_in: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        """Pictures of latents."""
        return self.decode_latents(latents_of({"samples": samples_in}, self.latent_channels))

    def decode_latents(self, z: Tensor, *, quantise: bool = True) -> Tensor:
        """Pictures (B,f*h,f*w,3) of latents (B,C,h,w), float32."""
        height, width = (extent * self.upscale_ratio for extent in z.shape[2:])
        larger = height * width > self._model.bundle.size**2
        faces = self._model.faces(batch_size=1 if larger else 0)
        pictures = blank(len(z), height, width, 3)
        progress = Progress(len(z))

        def work(part: slice) -> None:
            pictures[part] = faces.decode(z[part], quantise=quantise).movedim(1, -1).to(pictures)
            progress.advance(len(z[part]))

        faces.in_micro_batches(len(z), work)
        return pictures

    def encode_tiled(self, pixel_samples: Tensor, **_: Any) -> Tensor:
        """As `encode`: it is small enough to need no tiles."""
        return self.encode(pixel_samples)

    def decode_tiled(self, samples_in: Tensor, **_: Any) -> Tensor:
        """As `decode`: it is small enough to need no tiles."""
        return self.decode(samples_in)

    def get_sd(self) -> dict[str, Tensor]:
        """Refused: what core's nodes would write, others take for a model of another kind."""
        raise CLRFaceError(
            "Expected a VAE that ComfyUI can save, got a CLR-Face model's autoencoder, which is of no use without the "
            "other networks: copy the file in models/clrface."
        )

    def __getattr__(self, name: str) -> Any:
        """Told to nodes for one kind of VAE, as a sentence; they may ask first with hasattr."""
        raise AttributeError(
            f"Expected a VAE that has {name!r}, got the autoencoder of a CLR-Face model, which has not: use the nodes "
            "VAE Encode and VAE Decode, tiled or not."
        )

    def spacial_compression_encode(self) -> int:
        """Pixels per latent, along each side."""
        return self.downscale_ratio

    def spacial_compression_decode(self) -> int:
        """Pixels per latent, along each side."""
        return self.upscale_ratio

    def temporal_compression_decode(self) -> None:
        """Pictures are not frames to it."""
        return None


def crop_to_multiple(images: Tensor, unit: int) -> Tensor:
    """(B,H,W,3) cut around the centre to sides that are multiples of `unit`; an error where nothing is left."""
    height, width = ((extent // unit) * unit for extent in images.shape[1:3])
    if not height or not width:
        raise CLRFaceError(
            f"Expected pictures of at least {unit}x{unit} px, got {images.shape[2]}x{images.shape[1]}: enlarge them."
        )
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]
