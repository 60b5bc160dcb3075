"""The four stages: which network learns, from what samples, against which losses."""

from .irn import IRNStage
from .mask import MaskStage
from .refiner import RefinerStage
from .stage import Judges, Stage
from .vq import VQStage

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (VQStage, IRNStage, RefinerStage, MaskStage)}

__all__ = ["STAGES", "IRNStage", "Judges", "MaskStage", "RefinerStage", "Stage", "VQStage"]
