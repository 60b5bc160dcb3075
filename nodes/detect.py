"""Detect & Align Faces: photos to aligned crops, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, Alignment, FaceLandmarks

DETECTORS = ["yunet", "retinaface_mobile0.25", "retinaface_resnet50"]
ORDERS = ["area", "left-right", "top-bottom", "score"]

PREVIEWS = 16
"""Pictures shown at most: nobody picks faces on every frame of a film."""


def detection_inputs() -> list[io.Input]:
    """How faces are found and numbered, alike here and on the node that does all."""
    return [
        io.Combo.Input(
            "detector",
            options=DETECTORS,
            default="yunet",
            tooltip="Which network looks for faces.\nyunet comes along; the others are facexlib's, where it has their "
            "weights.",
            advanced=True,
        ),
        io.Float.Input(
            "score_threshold",
            default=0.8,
            min=0.05,
            max=0.99,
            step=0.01,
            tooltip="Lowest score of a face.\nLower finds more faces, and more that are none.",
            advanced=True,
        ),
        io.Combo.Input(
            "order",
            options=ORDERS,
            default="area",
            tooltip="How faces are numbered, from 0.\narea: the largest first.",
        ),
        io.Int.Input(
            "min_size",
            default=0,
            min=0,
            max=8192,
            tooltip="Faces whose box is smaller than this many pixels are left out.\n0 takes all.",
            advanced=True,
        ),
        io.Int.Input(
            "at_most",
            default=0,
            min=0,
            max=1000,
            tooltip="Faces per picture, the first in the order.\n0 takes all.",
            advanced=True,
        ),
    ]


class DetectAlignFaces(io.ComfyNode):
    """Photos to crops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceDetectAlign",
            display_name="Detect & Align Faces",
            category=CATEGORY,
            description=(
                "Finds the faces of every picture, and cuts each out upright at 512 px.\n"
                "The preview shows their numbers. A picture without faces gives none, which is no error."
            ),
            search_aliases=["face detect", "face crop", "face align", "crop faces", "facexlib"],
            has_intermediate_output=True,
            inputs=[
                io.Image.Input("image", tooltip="Photos, of any size.\nAll of one batch have the same size."),
                *detection_inputs(),
                FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="Faces that ComfyUI's MediaPipe node found.\nThey take the place of the detector's.",
                ),
                io.BoundingBox.Input(
                    "bboxes",
                    optional=True,
                    force_input=True,
                    socketless=False,
                    tooltip="Where to look for faces, one per box.\nA box in which none is seen gives none.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "crops",
                    display_name="crops",
                    tooltip="The faces, upright and 512 px.\nOne after the other, picture by picture.",
                ),
                Alignment.Output(
                    "alignment",
                    display_name="alignment",
                    tooltip="Where they lie.\nFor 'Select Faces' and 'Face Paste'.",
                ),
                io.Int.Output(
                    "count", display_name="count", tooltip="How many faces there are in all pictures.\n0 is no error."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        detector: str,
        score_threshold: float,
        order: str,
        min_size: int,
        at_most: int,
        face_landmarks: dict[str, Any] | None = None,
        bboxes: Any = None,
    ) -> io.NodeOutput:
        from ..clrface_core.faces.preview import numbered
        from ..clrface_core.faces.select import cut_faces, find_faces
        from .host import Progress, images, photos, shown

        originals = photos(image)
        looking = Looking(load(detector, score_threshold), face_landmarks, bboxes, len(originals))
        progress = Progress(len(originals))
        found = []
        for faces in find_faces(originals, looking, order=order, min_size=min_size, at_most=at_most):
            found.append(faces)
            progress.advance(1)
        crops, batch = cut_faces(originals, found)
        few = zip(originals, found[:PREVIEWS], strict=False)
        preview = {
            "clrface_pictures": shown(numbered(photo, faces, range(len(faces))) for photo, faces in few),
            "clrface_faces": [[list(face.box) for face in faces] for faces in found[:PREVIEWS]],
            "clrface_size": [image.shape[2], image.shape[1]],
        }
        return io.NodeOutput(images(crops), batch, len(batch), ui=preview)


@lru_cache(maxsize=2)
def load(name: str, score_threshold: float) -> Any:
    """A detector, kept for the next run. It runs on the CPU: it is small, and pictures are there."""
    from ..clrface_core.faces.detect import load_detector

    return load_detector(name, score_threshold=score_threshold)


class Looking:
    """A detector that prefers what it is told: landmarks, or boxes in which to look."""

    def __init__(self, detector: Any, landmarks: dict[str, Any] | None, bboxes: Any, frames: int) -> None:
        self._detector = detector
        self._landmarks = None if landmarks is None else iter(_per_picture(landmarks.get("frames"), frames))
        self._boxes = None if bboxes is None else iter(_per_picture(_nested(bboxes), frames))

    def detect(self, image: Tensor) -> list[Any]:
        """The faces of the next picture."""
        from ..clrface_core.faces.detect import from_mesh, in_box

        if self._landmarks is not None:
            return [from_mesh(face["landmarks_xy"], face.get("score", 1.0)) for face in next(self._landmarks)]
        if self._boxes is not None:
            seen = (in_box(image, box, self._detector) for box in _corners(next(self._boxes)))
            return [face for face in seen if face is not None]
        return self._detector.detect(image)


def _nested(bboxes: Any) -> list[list[dict[str, float]]]:
    """ComfyUI's boxes come as one, as a list, or as a list per picture."""
    if isinstance(bboxes, dict):
        return [[bboxes]]
    return [bboxes] if bboxes and isinstance(bboxes[0], dict) else list(bboxes)


def _corners(boxes: list[dict[str, float]]) -> Iterator[tuple[float, float, float, float]]:
    for box in boxes:
        yield box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def _per_picture(lists: Any, frames: int) -> list[Any]:
    from ..clrface_core.errors import CLRFaceError

    if not isinstance(lists, list) or len(lists) not in (1, frames):
        raise CLRFaceError(
            f"Expected faces for {frames} pictures, got them for {len(lists) if isinstance(lists, list) else 'none'}: "
            "connect what was made from the same pictures."
        )
    return lists * frames if len(lists) == 1 else lists
