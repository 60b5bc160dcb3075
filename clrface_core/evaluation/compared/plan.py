"""What a report compares: baselines, numbers of steps, strengths of guidance, and the ablations of the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from ...errors import CLRFaceError
from ...references import SCALE
from ..people import OWN, STRANGER
from ..weights import REALESRGAN, weight_file
from .outputs import Autoencoder, ModelOutputs, Output, Variant
from .peers import bicubic, load_peer

IRN_ALONE = "IRN alone"
ABLATED_STEPS = (1, 2, 4, 10)
ABLATED_STRENGTHS = (0.5, 1.0, 2.0)
Others = Mapping[str, ModelOutputs | Autoencoder]
"""Other models by title."""
NEED_OTHER_MODELS = ("f", "codebook", "condition")


def baselines(
    names: Sequence[str], ours: ModelOutputs, folder: Path | None = None, device: torch.device | str = "cpu"
) -> tuple[dict[str, Output], dict[str, str], dict[str, Path]]:
    """Outputs by title, for each that cannot be had the reason why not, and the files that were read.

    names: bicubic, irn, realesrgan (its weights are in `folder`, see `weights`), or TITLE=FILE for any network
    that spandrel knows. CLRFaceError for another name.
    """
    found: dict[str, Output] = {}
    missing: dict[str, str] = {}
    files: dict[str, Path] = {}
    for name in names:
        title, given, file = name.partition("=")
        try:
            if given:
                found[title] = Output(load_peer(Path(file), device))
                files[title] = Path(file)  # only once it is loaded: the report hashes what was read
            elif name == "realesrgan":
                path = weight_file(folder, REALESRGAN)
                found["Real-ESRGAN x4plus"] = Output(load_peer(path, device))
                files[path.name] = path
            elif name == "bicubic":
                found["bicubic"] = Output(bicubic)
            elif name == "irn":
                found[IRN_ALONE] = Output(ours.estimate)
            else:
                raise ValueError
        except CLRFaceError as error:
            missing[name] = str(error)
        except ValueError as error:
            raise CLRFaceError(
                f"Expected baselines among bicubic, irn, realesrgan, or TITLE=FILE, got {name!r}: choose of these."
            ) from error
    return found, missing, files


def refined(ours: ModelOutputs, steps: Sequence[int], strengths: Sequence[float]) -> dict[str, Output]:
    """Every number of steps with every strength of guidance."""
    variants = [Variant(steps=n, guidance_scale=strength) for n in dict.fromkeys(steps) for strength in strengths]
    return {title(variant): output(ours, variant) for variant in variants}


def referred(
    ours: ModelOutputs,
    steps: Sequence[int],
    scales: Sequence[float],
    counts: Sequence[int] = (1,),
    *,
    any_match: bool = False,
) -> tuple[dict[str, Output], dict[str, str]]:
    """Every number of steps with so many of the person's own references, at every scale with the first number of them,
    and with a stranger's; and, for each number of references that nobody has, the reason why it is left out.

    any_match: also what a stranger's would do if nobody asked whether they match.
    """
    found: list[Variant] = []
    missing = {}
    for count in dict.fromkeys(counts):
        if ours.album is None or not ours.album.having(count):
            missing[f"{count} references"] = f"Expected {count + 1} photos of a person, found no such person: add some."
    counts = [count for count in dict.fromkeys(counts) if f"{count} references" not in missing]
    for number in dict.fromkeys(steps):
        base = Variant(steps=number, reference_scale=scales[0])
        for at, count in enumerate(counts):
            own = replace(base, references=OWN, reference_count=count)
            found += [replace(own, reference_scale=scale) for scale in scales[: None if at == 0 else 1]]
        if counts:
            stranger = replace(base, references=STRANGER, reference_count=counts[0])
            found += [stranger, *([replace(stranger, any_match=True)] if any_match else [])]
    return {title(variant): output(ours, variant) for variant in found}, missing


def ablations(names: Sequence[str], ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
    """The outputs that answer each question of ABLATIONS, `base` and the part in question changed.

    others: models by title, for the questions that other weights answer. CLRFaceError for an unknown name, and where
    such a question came without other models.
    """
    found: dict[str, Output] = {}
    for name in names:
        if name in NEED_OTHER_MODELS and not others:
            raise CLRFaceError(
                f"Expected other models for the ablation {name}, as its answer needs other weights, got none: "
                "train them as docs/research-notes.md says and add --against TITLE=FILE."
            )
        if name not in ABLATIONS:
            raise CLRFaceError(f"Expected ablations among {', '.join(ABLATIONS)}, got {name!r}: choose of these.")
        found |= ABLATIONS[name](ours, others, base)
    return found


def against(others: Others, base: Variant) -> dict[str, Output]:
    """Other models, each on its own IRN, in the way of `base`; one that is only an autoencoder has nothing to show."""
    complete = {name: other for name, other in others.items() if isinstance(other, ModelOutputs)}
    return {f"{name}: {title(base)}": output(other, base, model=name) for name, other in complete.items()}


def title(variant: Variant) -> str:
    """As the report calls it: "4 steps, guidance 1, mask drawn"."""
    parts = [f"{variant.steps} step{'s' * (variant.steps > 1)}"]
    parts += [f"guidance {variant.guidance_scale:g}"] if variant.guidance_scale else []
    parts += [_references(variant)] if variant.references else []
    parts += [f"scale {variant.reference_scale:g}"] if variant.references and variant.reference_scale != SCALE else []
    parts += ["whoever it shows"] if variant.any_match else []
    parts += {"irn": [], "degraded": ["no IRN"], "noise": ["from noise"]}[variant.start]
    parts += [{"ones": "mask 1", "drawn": "mask drawn"}[variant.mask]] if variant.mask != "learned" else []
    parts += [] if variant.fidelity == Variant.fidelity else [f"fidelity {variant.fidelity:g}"]
    return ", ".join(parts + ([] if variant.quantise else ["not quantised"]))


def _references(variant: Variant) -> str:
    many = variant.reference_count > 1
    return f"{variant.reference_count} {variant.references} references" if many else f"{variant.references} reference"


def output(ours: ModelOutputs, variant: Variant, model: str = "") -> Output:
    """The variant as an output; traits are its settings, and the model's title where it is another one."""
    return Output(partial(ours.restore, variant=variant), asdict(variant) | ({"model": model} if model else {}))


Ablation = Callable[[ModelOutputs, Others, Variant], dict[str, Output]]


def _variants(*changes: Mapping[str, object]) -> Ablation:
    """Answered by `base` itself and by each of these changes to it."""

    def outputs(ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
        variants = [base, *(replace(base, **change) for change in changes)]  # type: ignore[arg-type]
        return {title(variant): output(ours, variant) for variant in variants}

    return outputs


def _irn(ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
    from_noise = replace(base, steps=max(ABLATED_STEPS), start="noise")  # one step from noise would show nothing else
    return {
        IRN_ALONE: Output(ours.estimate),
        **_variants({"start": "degraded"}, asdict(from_noise))(ours, others, base),
    }


def _mask(ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
    guided = replace(base, guidance_scale=base.guidance_scale or 1.0)
    return _variants(*({**asdict(guided), "mask": mask} for mask in ("learned", "ones", "drawn")))(ours, others, base)


def _autoencoder(ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
    """What compression alone costs: the truth through each autoencoder."""
    found = {"truth through the VQ": Output(ours.reconstruct)}
    return found | {f"{name}: truth through the VQ": Output(other.reconstruct) for name, other in others.items()}


def _other_models(ours: ModelOutputs, others: Others, base: Variant) -> dict[str, Output]:
    return _variants()(ours, others, base)  # `against` adds the others, whatever they are asked about


ABLATIONS: dict[str, Ablation] = {
    "irn": _irn,
    "steps": _variants(*({"steps": steps} for steps in ABLATED_STEPS)),
    "guidance": _variants(*({"guidance_scale": strength} for strength in (0.0, *ABLATED_STRENGTHS))),
    "mask": _mask,
    "quantise": _variants({"quantise": False}),
    "fidelity": _variants(*({"fidelity": fidelity} for fidelity in (0.0, 0.5, 0.8, 1.0))),
    "f": _autoencoder,
    "codebook": _autoencoder,
    "condition": _other_models,
}
"""The questions of the paper's ablations, by the name on the command line."""
