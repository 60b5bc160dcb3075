"""The plots of a report, one PNG each, small enough to be committed with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import CLRFaceError
from ...references import SCALE
from .tables import INPUT, Report, mean_of

PERCEPTION = ("LPIPS-VGG", "LPIPS-Alex")
IDENTITY = ("dlib cosine", "ArcFace cosine", "SFace cosine")  # networks that never guide come first
BINS = 4


def save_plots(report: Report, folder: Path) -> dict[str, str]:
    """Write those plots of PLOTS for which the report has numbers; title to file name.

    CLRFaceError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CLRFaceError(f"Expected matplotlib for the plots, but {error}: pip install matplotlib.") from error
    written = {}
    sets = sorted({face["set"] for face in report.faces})
    for name, (title, draw) in PLOTS.items():
        figure = Figure(figsize=(4.5 * len(sets), 3.6), layout="constrained")
        panels = figure.subplots(1, len(sets), squeeze=False)[0]
        if not all([draw(axes, report, set_name) for axes, set_name in zip(panels, sets, strict=True)]):
            continue
        for axes, set_name in zip(panels, sets, strict=True):
            axes.set_title(f"set {set_name}", fontsize=9)
            axes.grid(alpha=0.3)
        figure.savefig(folder / f"{name}.png", dpi=90, metadata={"Software": None})  # the same bytes every time
        written[title] = f"{name}.png"
    return written


def _column(report: Report, names: Sequence[str]) -> str | None:
    """The first of these columns that the report has."""
    return next((name for name in names if any(column.name == name for column in report.columns)), None)


def _means(report: Report, set_name: str, output: str, column: str) -> float | None:
    return mean_of([face for face in report.faces if face["set"] == set_name], output, column)


def _fidelity(axes: Any, report: Report, set_name: str) -> bool:
    """Every output as a point: PSNR against a perceptual distance."""
    perception = _column(report, PERCEPTION)
    if perception is None or _column(report, ["PSNR"]) is None:
        return False
    for number, output in enumerate(report.outputs):
        x, y = (_means(report, set_name, output, column) for column in ("PSNR", perception))
        axes.plot(x, y, "so^Dv*"[number % 6], color=f"C{number % 10}", label=output, markersize=5)
    axes.set(xlabel="PSNR, dB (more is better)", ylabel=f"{perception} (less is better)")
    axes.legend(fontsize=5)
    return True


def _series(report: Report, along: str, fixed: Mapping[str, Any]) -> list[tuple[float, str]]:
    """The outputs of our model that differ in `along` alone, as (value, output), in rising order."""
    kept = {"start": "irn", "mask": "learned", "quantise": True, **fixed}
    found = [
        (float(traits[along]), output)
        for output, traits in report.outputs.items()
        if along in traits and "model" not in traits and all(traits[key] == value for key, value in kept.items())
    ]
    return sorted(found)


def _lines(axes: Any, report: Report, set_name: str, series: list[tuple[float, str]], columns: Sequence[str]) -> bool:
    """One line for each column, on an axis of its own where there are two."""
    for number, column in enumerate(columns):
        place = axes.twinx() if number else axes
        values = [_means(report, set_name, output, column) for _, output in series]
        place.plot([at for at, _ in series], values, "o-" if not number else "s--", color=f"C{number}", markersize=4)
        place.set_ylabel(column, color=f"C{number}")
    return True


def _guidance(axes: Any, report: Report, set_name: str) -> bool:
    steps = [traits["steps"] for traits in report.outputs.values() if traits.get("guidance_scale")]
    columns = [name for name in ("dlib cosine", "SFace cosine") if _column(report, [name])]
    if not steps or not columns:
        return False
    series = _series(report, "guidance_scale", {"steps": steps[0]})
    axes.set_xlabel(f"strength of guidance, {steps[0]} step(s)")
    return len(series) > 1 and _lines(axes, report, set_name, series, columns)


def _steps(axes: Any, report: Report, set_name: str) -> bool:
    series = _series(report, "steps", {"guidance_scale": 0.0})
    perception = _column(report, PERCEPTION)
    columns = [name for name in (perception, _column(report, ["PSNR"])) if name]
    axes.set_xlabel("steps")
    return len(series) > 1 and bool(columns) and _lines(axes, report, set_name, series, columns)


def _strength(axes: Any, report: Report, set_name: str) -> bool:
    """Input, baselines and the first two of ours, over faces in order of their reduction, in bins alike in size."""
    column = _column(report, (*PERCEPTION, "PSNR"))
    faces = sorted(
        (face for face in report.faces if face["set"] == set_name),
        key=lambda f: (f["degradation"]["reduction"], f["key"]),
    )
    if column is None or len(faces) < 2 * BINS:
        return False
    bins = [faces[len(faces) * i // BINS : len(faces) * (i + 1) // BINS] for i in range(BINS)]
    at = [sum(face["degradation"]["reduction"] for face in part) / len(part) for part in bins]
    ours = [name for name, traits in report.outputs.items() if "steps" in traits][:2]
    others = [name for name, traits in report.outputs.items() if "steps" not in traits and name != INPUT]
    for output in (INPUT, *others[:4], *ours):
        axes.plot(at, [mean_of(part, output, column) for part in bins], "o-", label=output, markersize=3)
    axes.set(xlabel="reduction, mean of a quarter of the faces", ylabel=column)
    axes.legend(fontsize=6)
    return True


def _references(axes: Any, report: Report, set_name: str) -> bool:
    """Identity over the number of references: the person's own by number of steps, and a stranger's, dashed."""
    column = _column(report, IDENTITY)
    ours = {name: traits for name, traits in report.outputs.items() if "references" in traits}
    scales = [traits["reference_scale"] for traits in ours.values() if traits["references"]]
    if column is None or not scales:
        return False
    for number, steps in enumerate(sorted({traits["steps"] for traits in ours.values()})):
        for whose, style in (("own", "o-"), ("stranger's", "s--")):
            points = sorted(
                (traits["reference_count"] if traits["references"] else 0, name)
                for name, traits in ours.items()
                if traits["steps"] == steps
                and traits["references"] in ("", whose)
                and traits["reference_scale"] in (scales[0], SCALE if not traits["references"] else scales[0])
                and not (traits["guidance_scale"] or traits["any_match"])
            )
            values = [_means(report, set_name, name, column) for _, name in points]
            axes.plot(
                [at for at, _ in points],
                values,
                style,
                color=f"C{number}",
                markersize=4,
                label=f"{whose}, {steps} step(s)",
            )
    axes.set(xlabel="references", ylabel=column, xticks=sorted({0, *(t["reference_count"] for t in ours.values())}))
    axes.legend(fontsize=6)
    return True


PLOTS: dict[str, tuple[str, Callable[[Any, Report, str], bool]]] = {
    "fidelity-perception": ("Fidelity against perception", _fidelity),
    "identity-strength": ("Identity against strength of guidance", _guidance),
    "quality-steps": ("Quality against steps", _steps),
    "identity-references": ("Identity against number of references", _references),
    "quality-degradation": ("Quality against strength of degradation", _strength),
}
