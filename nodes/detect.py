"""Detect & Align Faces: photos to aligned crops, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.faces.detect import ORDERS, Detector, Face, faces_in_boxes, from_mesh, order_faces
from ..clrface_core.faces.preview import numbered
from ..clrface_core.faces.select import Detection, cut_faces, select_faces
from .detectors import available, checked
from .memory import detector as host_detector
from .previews import PICTURES, scale_of, scaled, small
from .progress import Progress, shown
from .tensors import images, or_none, photos
from .types import CATEGORY, Alignment, FaceLandmarks, settings

USUAL = Detection()


def detection_inputs() -> list[io.Input]:
    """How faces are found and numbered, alike here and on the node that does all."""
    return [
        io.Combo.Input(
            "detector",
            options=available(),
            default="yunet",
            tooltip="Which network looks for faces.\nyunet is included; facexlib's are offered where their weights lie "
            "in models/facedetection.",
            advanced=True,
        ),
        io.Float.Input(
            "score_threshold",
            default=USUAL.score_threshold,
            min=0.05,
            max=0.99,
            step=0.01,
            tooltip="Lowest score of a face.\nLower finds more faces, and more that are none.",
            advanced=True,
        ),
        io.Combo.Input(
            "order",
            options=list(ORDERS),
            default=USUAL.order,
            tooltip="How faces are numbered, from 0.\narea: the largest first.",
        ),
        io.Int.Input(
            "min_size",
            default=0,
            min=0,
            max=8192,
            tooltip="Faces whose box is smaller than this many pixels are left out.\n0 takes all. Numbers stay.",
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
                    tooltip="The faces, upright and 512 px, picture by picture.\nWithout any face, nodes that need "
                    "crops are left out.",
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
    def validate_inputs(cls, detector: str) -> bool | str:
        return checked(detector)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        detector: str,
        face_landmarks: dict[str, Any] | None = None,
        bboxes: Any = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        detection = settings(Detection, widgets)
        originals = photos(image)
        finder = host_detector(detector).load()
        given = _given(face_landmarks, bboxes, len(originals))
        progress = Progress(len(originals))
        found = []
        for index, photo in enumerate(originals):
            faces = _find(
                photo, finder, detection.score_threshold, *(None if each is None else each[index] for each in given)
            )
            found.append(order_faces(faces, by=detection.order))
            progress.advance(1)
        chosen = [select_faces(faces, detection) for faces in found]
        crops, batch = cut_faces(originals, found, chosen=chosen)
        batch = replace(batch, crops=images(crops))
        few = list(zip(originals, found, chosen, strict=True))[:PICTURES]
        scale = scale_of(*image.shape[1:3])
        preview = {
            "clrface_pictures": shown(
                numbered(small(photo), [scaled(faces[i], scale) for i in ids], ids) for photo, faces, ids in few
            ),
            "clrface_faces": [[list(faces[i].box) for i in ids] for _, faces, ids in few],
            "clrface_ids": [ids for *_, ids in few],
            "clrface_size": [image.shape[2], image.shape[1]],
        }
        return io.NodeOutput(or_none(batch.crops), batch, len(batch), ui=preview)


def _find(
    photo: Tensor,
    finder: Detector,
    threshold: float,
    meshes: list[dict[str, Any]] | None,
    boxes: list[dict[str, float]] | None,
) -> list[Face]:
    """The faces of one picture: of the landmarks given, in the boxes given, or all that the detector finds."""
    if meshes is not None:
        return [from_mesh(*_mesh(face)) for face in _listed(meshes, "landmarks of faces")]
    if boxes is not None:
        return faces_in_boxes(photo, [_corners(box) for box in _listed(boxes, "boxes")], finder, threshold)
    return finder.detect(photo, threshold)


def _given(landmarks: dict[str, Any] | None, bboxes: Any, frames: int) -> tuple[list[Any] | None, list[Any] | None]:
    """What was connected, picture by picture: landmarks and boxes, None for what was not."""
    if landmarks is not None and not isinstance(landmarks, dict):
        raise CLRFaceError(f"Expected FACE_LANDMARKS, got {type(landmarks).__name__}: connect those of MediaPipe.")
    return (
        None if landmarks is None else _per_picture(landmarks.get("frames"), frames),
        None if bboxes is None else _per_picture(_nested(bboxes), frames),
    )


def _nested(bboxes: Any) -> list[list[dict[str, float]]]:
    """ComfyUI's boxes come as one, as a list, or as a list per picture; an empty list is none anywhere."""
    if isinstance(bboxes, dict):
        return [[bboxes]]
    boxes = _listed(bboxes, "boxes")
    return [boxes] if not boxes or isinstance(boxes[0], dict) else boxes


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise CLRFaceError(f"Expected a list of {what}, got {type(value).__name__}: connect a node that makes them.")
    return list(value)


def _mesh(face: Any) -> tuple[np.ndarray, float]:
    """The points of MediaPipe's landmarks, and their score."""
    try:
        return np.asarray(face["landmarks_xy"], np.float32), float(face.get("score", 1.0))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CLRFaceError(
            f"Expected landmarks_xy of each face, got {type(face).__name__} without: connect those of MediaPipe."
        ) from error


def _corners(box: Any) -> tuple[float, float, float, float]:
    """A box of ComfyUI's by its corners."""
    try:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CLRFaceError(
            f"Expected boxes with x, y, width and height, got {box!r:.80}: connect a node that makes BOUNDING_BOX."
        ) from error
    return x, y, x + width, y + height


def _per_picture(lists: Any, frames: int) -> list[Any]:
    if not isinstance(lists, list) or len(lists) not in (1, frames):
        raise CLRFaceError(
            f"Expected faces for {frames} pictures, got them for {len(lists) if isinstance(lists, list) else 'none'}: "
            "connect what was made from the same pictures."
        )
    return lists * frames if len(lists) == 1 else lists
