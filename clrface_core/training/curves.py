"""What happened over the steps of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path


class Curves:
    """Figures over steps: always as JSON lines, and as TensorBoard events where that package is installed."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "log.jsonl").open("a", buffering=1)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
            print("TensorBoard is not installed: curves go to log.jsonl only.")
        else:
            self._board = SummaryWriter(str(folder))

    def add(self, step: int, figures: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 1), **figures}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
