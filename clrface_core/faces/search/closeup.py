"""Detect again in close-up views of each box that may hold a face: turned upright, and brought to the right size.

Networks that find faces know upright ones best, and say poorly how far others are turned: on a face turned by
30 degrees YuNet's points stay almost upright. So a box is viewed turned to every side, and the best view wins.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..align import FFHQ_TEMPLATE_512
from .scan import FaceNetwork, Level

TURNS = 8
"""Views of each box, evenly turned, from which the upright one is chosen."""

PLAUSIBLE = 0.5
"""Lowest score of that view for which there are further ones."""

SMALL, MIDDLE, LARGE = 60, 90, 180
"""Sizes in pixels that faces have in views (the square root of the box's area).

In small and middle views a blurred face is as sharp as any, so they give the score. The points come from all three:
in large views YuNet measures the tilt of a face fully, in small ones about a third of it, but those are steadier
under blur."""

MARGIN = 1.6
"""Side of a view in sizes of its face."""

BATCH_PIXELS = 2**18
"""Pixels shown to the network at once."""


@dataclass(frozen=True)
class Pose:
    """Where N faces may be, in picture pixels and radians; a positive angle turns clockwise as seen."""

    centre: Tensor  # (N,2)
    size: Tensor  # (N,)
    angle: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.size)

    def __getitem__(self, index: Tensor) -> "Pose":
        return Pose(self.centre[index], self.size[index], self.angle[index])


@dataclass(frozen=True)
class Detections:
    """What the network says of N faces, in picture pixels. Where it finds nothing the score is 0."""

    scores: Tensor  # (N,)
    centre: Tensor  # (N,2)
    extent: Tensor  # (N,2) width and height of the face along its own axes
    angle: Tensor  # (N,) by which the face is turned, as its landmarks say
    landmarks: Tensor  # (N,5,2)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor) -> "Detections":
        return Detections(*(getattr(self, field.name)[index] for field in fields(self)))

    @staticmethod
    def cat(parts: "list[Detections]") -> "Detections":
        """All the faces of several."""
        return Detections(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Detections)))

    def pose(self) -> Pose:
        """The pose in which these faces are upright."""
        return Pose(self.centre, self.extent.prod(-1).sqrt(), self.angle)

    def boxes(self) -> Tensor:
        """(N,4) x0 y0 x1 y1: the bounds of the ellipses that fill the turned boxes."""
        turn = torch.stack([self.angle.cos(), self.angle.sin()], -1)
        half = torch.stack([(self.extent * turn).norm(dim=-1), (self.extent * turn.flip(-1)).norm(dim=-1)], -1) / 2
        return torch.cat([self.centre - half, self.centre + half], -1)


def detect_in_boxes(network: FaceNetwork, levels: list[Level], boxes: Tensor) -> Detections:
    """The faces in these boxes (N,4) of the picture, whatever their rotation; fewer than N, unsure ones too."""
    corners = boxes.unflatten(-1, (2, 2))
    pose = Pose(corners.mean(1), (corners[:, 1] - corners[:, 0]).prod(-1).sqrt(), torch.zeros_like(boxes[:, 0]))
    upright = _upright(network, levels, pose)
    pose = upright[upright.scores >= PLAUSIBLE].pose()
    return detect_at(network, levels, detect_in_views(network, levels, pose, LARGE).pose())


def detect_at(network: FaceNetwork, levels: list[Level], pose: Pose) -> Detections:
    """The N faces of about these poses, as several views of each agree on them."""
    # A real face scores as well in the mirror; what only looks like one (a lamp, a spoon) often does not.
    networks = (network, mirrored(network))
    steady = [detect_in_views(each, levels, pose, size) for size in (SMALL, MIDDLE) for each in networks]
    mean = _mean([*steady, detect_in_views(network, levels, pose, LARGE)])
    return replace(mean, scores=torch.stack([view.scores for view in steady]).mean(0))


def mirrored(network: FaceNetwork) -> FaceNetwork:
    """The same network on mirrored pictures; its boxes and landmarks are those of the picture that was not."""

    def forward(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, landmarks = network(images.flip(-1))
        last = images.shape[-1] - 1
        x0, y0, x1, y1 = boxes.unbind(-1)
        x, y = landmarks[:, :, [1, 0, 2, 4, 3]].unbind(-1)
        return torch.stack([last - x1, y0, last - x0, y1], -1), scores, torch.stack([last - x, y], -1)

    return forward


def _upright(network: FaceNetwork, levels: list[Level], pose: Pose) -> Detections:
    """What the best of TURNS views of each box shows."""
    angles = torch.arange(TURNS, device=pose.angle.device) * (2 * math.pi / TURNS)
    every = Pose(pose.centre.repeat(TURNS, 1), pose.size.repeat(TURNS), angles.repeat_interleave(len(pose)))
    views = detect_in_views(network, levels, every, SMALL)
    best = views.scores.reshape(TURNS, len(pose)).argmax(0)
    return views[best * len(pose) + torch.arange(len(pose), device=best.device)]


def _mean(views: list[Detections]) -> Detections:
    """One detection of each face from several: places weighted by squared odds, so that doubtful ones count little."""
    scores = torch.stack([view.scores for view in views])
    weights = (scores / (1 - scores).clamp(min=1e-3)).square() + 1e-6
    weights = weights / weights.sum(0)
    centre, extent, landmarks = (
        torch.einsum("vn,vn...->n...", weights, torch.stack([getattr(view, name) for view in views]))
        for name in ("centre", "extent", "landmarks")
    )
    return Detections(scores.mean(0), centre, extent, tilt(landmarks), landmarks)


def detect_in_views(network: FaceNetwork, levels: list[Level], pose: Pose, size: int) -> Detections:
    """The surest face near the middle of each view, in which a face of that pose is upright and `size` pixels large."""
    side = math.ceil(size * MARGIN / 32) * 32
    chunks = torch.arange(len(pose), device=pose.angle.device).split(max(1, BATCH_PIXELS // side**2))
    parts = [_best(*network(_views(levels, pose[chunk], size, side)), size, side) for chunk in chunks if len(chunk)]
    if not parts:
        none = pose.size
        return Detections(none, pose.centre, pose.centre, none, none.new_zeros(0, 5, 2))
    scores, centre, extent, landmarks = (torch.cat(part) for part in zip(*parts, strict=True))
    landmarks = _to_picture(landmarks, pose, size)
    extent = extent * (pose.size / size)[:, None]
    return Detections(scores, _to_picture(centre, pose, size), extent, tilt(landmarks), landmarks)


def _views(levels: list[Level], pose: Pose, size: int, side: int) -> Tensor:
    """Views (N,3,side,side), each from the level at which it is reduced by less than two; black outside the picture."""
    scales = pose.size.new_tensor([level.scale for level in levels])
    choice = (torch.searchsorted(scales, pose.size / size, right=True) - 1).clamp(min=0)
    views = pose.size.new_empty(len(pose), 3, side, side)
    for i in choice.unique().tolist():
        rows = choice == i
        # One tall sample per level: the level is not copied for each of its views.
        grid = F.affine_grid(_maps(levels[i], pose[rows], side / size), [int(rows.sum()), 3, side, side], False)
        tall = F.grid_sample(levels[i].pixels, grid.reshape(1, -1, side, 2), align_corners=False)
        views[rows] = tall[0].unflatten(1, (-1, side)).transpose(0, 1)
    return views


def _maps(level: Level, pose: Pose, margin: float) -> Tensor:
    """Maps (N,2,3) from views, `margin` times as wide as their face, to the level; edges are at -1 and 1 in both."""
    extent = level.scale * pose.size.new_tensor([level.pixels.shape[-1], level.pixels.shape[-2]])
    along, across = pose.angle.cos() * pose.size * margin, pose.angle.sin() * pose.size * margin
    turn = torch.stack([torch.stack([along, -across], -1), torch.stack([across, along], -1)], -2)
    shift = (2 * pose.centre + 1) / extent - 1
    return torch.cat([turn / extent[:, None], shift[..., None]], -1)


def _best(boxes: Tensor, scores: Tensor, landmarks: Tensor, size: int, side: int) -> tuple[Tensor, ...]:
    """Score, centre, extent, landmarks, counted from the middle, of each view's best face that fits the pose."""
    middle = (side - 1) / 2
    centre = boxes.unflatten(-1, (2, 2)).mean(-2) - middle
    extent = boxes[..., 2:] - boxes[..., :2]
    sizes = extent.prod(-1).sqrt()
    fits = (centre.norm(dim=-1) < size / 2) & (sizes > size / 2) & (sizes < size * 2)
    best, index = torch.where(fits, scores, 0).max(1)
    rows = torch.arange(len(index), device=index.device)
    return best, centre[rows, index], extent[rows, index], landmarks[rows, index] - middle


def _to_picture(points: Tensor, pose: Pose, size: int) -> Tensor:
    """Points (N,...,2), counted from the middle of views, as points of the picture."""
    shape = (-1,) + (1,) * (points.ndim - 2)
    along = (pose.angle.cos() * pose.size / size).reshape(shape)
    across = (pose.angle.sin() * pose.size / size).reshape(shape)
    x, y = points.unbind(-1)
    turned = torch.stack([along * x - across * y, across * x + along * y], -1)
    return turned + pose.centre.reshape(*shape, 2)


def tilt(landmarks: Tensor) -> Tensor:
    """Angle (N,) by which five points (N,5,2) are turned clockwise against the template, by least squares."""
    template = torch.as_tensor(FFHQ_TEMPLATE_512, dtype=landmarks.dtype, device=landmarks.device)
    u, v = (template - template.mean(0)).unbind(-1)
    x, y = (landmarks - landmarks.mean(1, keepdim=True)).unbind(-1)
    return torch.atan2((u * y - v * x).sum(-1), (u * x + v * y).sum(-1))
