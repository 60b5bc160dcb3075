"""Training samples out of aligned faces, each a pure function of (seed, step, position).

Nothing here keeps a random state: a run that resumes at step n sees exactly the samples that an
uninterrupted run would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..degrade import MILD, STANDARD, Degradation, draw
from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from ..shards import read_faces
from .album import disguised, mates
from .wear import worn


class FaceShards:
    """Random access to the faces of shards and folders, and to what each set has (see `shards`).

    Pictures asked for at a smaller side stay decoded (0.2 MB a face at 256 px): reading a whole set again then costs
    nothing.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.faces = read_faces(paths)
        self.sets: dict[str, list[int]] = {}
        for index, face in enumerate(self.faces):
            self.sets.setdefault(face.set_name, []).append(index)
        self.mates = mates(self.faces)
        self._reduced: dict[tuple[int, int], Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        """Picture `index` as uint8 (3,S,S), RGB."""
        return self.faces[index].pixels()

    def reduced(self, index: int, side: int) -> Tensor:
        """Picture `index` as uint8 (3,S,S), S at most `side`: reduced by area."""
        if (index, side) not in self._reduced:
            face = self[index]
            if face.shape[1] > side:
                face = (resize(face.float(), side) + 0.5).to(torch.uint8)
            self._reduced[index, side] = face
        return self._reduced[index, side]

    def draw(self, rng: np.random.Generator, mix: Mapping[str, float]) -> int:
        """A picture's index: first a set by the weights of `mix` (absent sets drop out), then one of it."""
        names = [name for name in sorted(mix) if name in self.sets and mix[name] > 0]
        if not names:
            raise CLRFaceError(
                f"Expected pictures of the sets {', '.join(sorted(mix))} in the shards, found only "
                f"{', '.join(sorted(self.sets))}: change the mix in the config."
            )
        weights = np.array([mix[name] for name in names])
        return int(rng.choice(self.sets[str(rng.choice(names, p=weights / weights.sum()))]))


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the clean face; every range is symmetric around "no change"."""

    flip: float = 0.5
    scale: float = 0.05
    rotate: float = 3.0  # degrees
    shift: float = 0.02  # of the side
    colour: float = 0.15  # gain per channel
    gamma: float = 0.25
    saturation: float = 0.3
    monochrome: float = 0.15  # probability of grey, or one tint: what old photographs are
    vignette: float = 0.3  # probability of light that falls off: dark backgrounds are else taken for hair
    occlusion: float = 0.1  # probability of something in front of the face


def augment(face: Tensor, rng: np.random.Generator, config: Augmentation) -> Tensor:
    """Flip, jitter as a similarity, recolour a face (3,S,S) in [0,1], and at times hide a part of it."""
    if rng.random() < config.flip:
        face = face.flip(2)
    if config.scale or config.rotate or config.shift:
        face = jitter(face, rng, config)
    face = recolour(face, rng, config)
    if rng.random() < config.vignette:
        face = vignette(face, rng)
    return occlude(face, rng) if rng.random() < config.occlusion else face


def recolour(face: Tensor, rng: np.random.Generator, config: Augmentation) -> Tensor:
    """Other saturation (at times none), gain per channel and gamma."""
    monochrome = rng.random() < config.monochrome
    gain = torch.tensor(1 + config.colour * rng.uniform(-1, 1, size=3), dtype=torch.float32)[:, None, None]
    if monochrome and rng.random() < 0.5:
        gain = gain[:1]
    saturation = 0.0 if monochrome else 1 + config.saturation * rng.uniform(-1, 1)
    grey = face.mean(0, keepdim=True)
    face = ((grey + (face - grey) * saturation) * gain).clamp(0, 1)
    return face ** float(np.exp(config.gamma * rng.uniform(-1, 1)))


def vignette(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Light that falls off as exp(-depth r^2) around a point near the middle, r in sides of the picture."""
    centre, depth = rng.uniform(0.35, 0.65, size=2), rng.uniform(0.5, 8)
    y, x = (((torch.arange(face.shape[1]) + 0.5) / face.shape[1] - c) ** 2 for c in centre)
    return face * torch.exp(-depth * (y[:, None] + x))


def jitter(face: Tensor, rng: np.random.Generator, config: Augmentation) -> Tensor:
    """A small random similarity, bicubic. It costs some of the finest detail: who learns texture does without."""
    scale = 1 + config.scale * rng.uniform(-1, 1)
    angle = np.deg2rad(config.rotate) * rng.uniform(-1, 1)
    dx, dy = config.shift * 2 * rng.uniform(-1, 1, size=2)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    theta = torch.tensor([[[cos, -sin, dx], [sin, cos, dy]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 3, *face.shape[1:]], align_corners=False)
    moved = F.grid_sample(face[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0]
    return moved.clamp(0, 1)


def occlude(face: Tensor, rng: np.random.Generator) -> Tensor:
    """An ellipse of 0.1 to 0.4 of the side, turned, anywhere: in one colour, or with a part of the same picture.

    It belongs to the truth: a restorer has to leave hands, microphones and hats where they are.
    """
    side = face.shape[1]
    centre, axes, angle = rng.uniform(0, 1, size=2), rng.uniform(0.05, 0.2, size=2), rng.uniform(0, np.pi)
    y, x = ((torch.arange(side) + 0.5) / side - c for c in centre)
    along = (x * np.cos(angle) + y[:, None] * np.sin(angle)) / axes[0]
    across = (y[:, None] * np.cos(angle) - x * np.sin(angle)) / axes[1]
    inside = 0.5 + side * axes.min() * (1 - (along.square() + across.square()).sqrt())  # with an edge of one pixel
    shifts = tuple(int(s) for s in rng.integers(side, size=2))
    colour = torch.tensor(rng.uniform(0, 1, size=3), dtype=torch.float32)[:, None, None]
    object_ = colour if rng.random() < 0.5 else face.roll(shifts, (1, 2)).flip(1)
    return torch.lerp(face, object_.expand_as(face), inside.clamp(0, 1))


class Steps(Dataset[dict[str, Tensor]]):
    """Item `step` is that step's whole batch; subclasses say what one sample is.

    first: number of the first sample of a batch, for processes that share one.
    """

    first = 0

    def __init__(
        self, shards: FaceShards, mix: Mapping[str, float], batch: int, seed: int, augmentation: Augmentation
    ) -> None:
        self.shards, self.mix, self.batch, self.seed, self.augmentation = (
            shards,
            mix,
            batch,
            seed,
            augmentation,
        )

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        samples = [self.sample(np.random.default_rng((self.seed, step, self.first + i))) for i in range(self.batch)]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def picture(self, rng: np.random.Generator, side: int | None = None) -> Tensor:
        """A face as uint8 (3,S,S), at its own resolution, or at `side` where that is less."""
        return self.stored(self.shards.draw(rng, self.mix), side)

    def stored(self, index: int, side: int | None) -> Tensor:
        """Picture `index`, as `picture`."""
        return self.shards[index] if side is None else self.shards.reduced(index, side)

    def sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} must say what a sample is")


class Crops(Steps):
    """`clean`: square crops of `side` px at the pictures' own resolution, for the VQ. Only the crop is augmented:
    that takes less than half the time."""

    def __init__(self, *args, side: int = 128) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args)
        self.side = side

    def sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        face = self.picture(rng)
        if min(face.shape[1:]) < self.side:
            raise CLRFaceError(
                f"Expected faces of at least {self.side} px, got {face.shape[2]}x{face.shape[1]}: leave that set out."
            )
        top, left = (int(rng.integers(extent - self.side + 1)) for extent in face.shape[1:])
        crop = face[:, top : top + self.side, left : left + self.side]
        return {"clean": augment(crop.float() / 255, rng, self.augmentation)}


class Pairs(Steps):
    """`clean` and `degraded` faces of `side` px, degraded as faces of 512 px that are then reduced.

    At a smaller side the degradation shrinks with the face. That is the same but for what 512 px shows and the
    smaller side does not, and several times cheaper.

    size: side of the faces that the model restores; at a smaller `side` decoded pictures are kept.

    mild: the share of pairs drawn from the mild ranges; the standard ones reach those in one pair out of ten.
    worn: the share of pairs that real photographs' faults come upon first (see `wear`). clean: the share that is not
        degraded at all: first do no harm.
    references: the share of pairs with a photo of the person, `reference`; `strangers`: the share with a photo of
        another. `told`, a number per face, is 1 with any of them; without, the reference is black.
    enlarge: originals of less than `side` px take part, enlarged. Their finest detail is no target: `sharp`, a flag
        per face, is False there. Otherwise they are refused.
    """

    def __init__(  # type: ignore[no-untyped-def]
        self,
        *args,
        side: int,
        size: int,
        mild: float = 0.0,
        worn: float = 0.0,
        clean: float = 0.0,
        references: float = 0.0,
        strangers: float = 0.0,
        enlarge: bool = False,
    ) -> None:
        super().__init__(*args)
        self.side, self.size, self.mild, self.enlarge = side, size, mild, enlarge
        self.worn, self.clean, self.references, self.strangers = worn, clean, references, strangers

    def sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        index = self.shards.draw(rng, self.mix)
        face = augment(self._face(index), rng, self.augmentation)
        sharp = face.shape[1] >= self.side
        if not sharp and not self.enlarge:
            raise CLRFaceError(
                f"Expected originals of at least {self.side} px as targets, got {face.shape[1]} px: leave that set out."
            )
        face = resize(face, self.side)
        ranges = MILD if rng.random() < self.mild else STANDARD
        degradation = draw(ranges, tuple(int(x) for x in rng.integers(2**31, size=2)))
        sample = {"clean": degradation.target(face), "sharp": torch.tensor(sharp)}
        sample["degraded"] = self._degraded(face, degradation, rng)
        if self.references or self.strangers:
            sample |= self._reference(index, rng)
        return sample

    def _face(self, index: int) -> Tensor:
        return self.stored(index, self.side if self.side < self.size else None).float() / 255

    def _degraded(self, face: Tensor, degradation: Degradation, rng: np.random.Generator) -> Tensor:
        if rng.random() < self.clean:
            return degradation.target(face)
        if rng.random() < self.worn:
            face = worn(face, rng)
        return degradation.scaled(self.side / FACE_SIZE).apply(face)

    def _reference(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """A photo of the person of picture `index`, or of a stranger, or none."""
        chance = rng.random()
        if chance >= self.references + self.strangers:
            return {"reference": torch.zeros(3, self.side, self.side), "told": torch.tensor(0.0)}
        if chance < self.strangers:
            index = self.shards.draw(rng, self.mix)
        elif index in self.shards.mates:
            index = int(rng.choice(self.shards.mates[index]))
        photo = disguised(resize(augment(self._face(index), rng, self.augmentation), self.side), rng)
        return {"reference": photo, "told": torch.tensor(1.0)}


def resize(face: Tensor, side: int) -> Tensor:
    """(3,S,S) to (3,side,side): by area when it shrinks, bicubic when it grows."""
    if face.shape[1] == side:
        return face
    if face.shape[1] > side:
        return F.interpolate(face[None], (side, side), mode="area")[0]
    return F.interpolate(face[None], (side, side), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def batches(
    dataset: Steps, start: int, stop: int, workers: int, *, pinned: bool = False
) -> Iterator[dict[str, Tensor]]:
    """The batches of steps start..stop-1, in order, decoded by `workers` processes (0: by this one).

    pinned: in page-locked memory, from where a GPU can fetch them while it computes.
    """
    loader = DataLoader(
        dataset, batch_size=None, sampler=range(start, stop), num_workers=workers,
        prefetch_factor=2 if workers else None, worker_init_fn=_one_thread, pin_memory=pinned,
    )  # fmt: skip
    return iter(loader)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
