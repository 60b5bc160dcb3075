"""A node that the tests put into ComfyUI beside ours: pictures that no node should make, and some do."""

import torch


class OddPicture:
    """NaN, or a batch of none."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (["nan", "empty"],)}}

    def make(self, kind):
        return (torch.full((1, 64, 64, 3), float("nan")) if kind == "nan" else torch.zeros(0, 64, 64, 3),)


NODE_CLASS_MAPPINGS = {"OddPicture": OddPicture}
