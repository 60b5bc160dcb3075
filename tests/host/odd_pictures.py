"""Nodes that the tests put into ComfyUI beside ours: pictures that no node should make, and some do, and landmarks as
core's MediaPipe node finds them, whose weights are not here."""

from collections import defaultdict

import numpy as np
import torch


class OddPicture:
    """NaN, or a batch of none."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (["nan", "empty"],)}}

    def make(self, kind):
        return (torch.full((1, 64, 64, 3), float("nan")) if kind == "nan" else torch.zeros(0, 64, 64, 3),)


class FaceRing:
    """A face whose outline is an oval of 36 points around the centre of the picture."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("FACE_LANDMARKS",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "x": ("INT",), "y": ("INT",), "across": ("INT",), "down": ("INT",)}}

    def make(self, image, x, y, across, down):
        angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        outline = np.stack((x + across * np.cos(angles), y + down * np.sin(angles)), 1).astype(np.float32)
        ring = frozenset((at, (at + 1) % 36) for at in range(36))
        sets = defaultdict(frozenset, face_oval=ring)  # of whatever else core asks for there is none
        frames = [[{"landmarks_xy": outline, "score": 1.0}]] * len(image)
        return ({"frames": frames, "image_size": tuple(image.shape[1:3]), "connection_sets": sets},)


NODE_CLASS_MAPPINGS = {"OddPicture": OddPicture, "FaceRing": FaceRing}
