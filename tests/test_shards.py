"""The one reader of faces: what counts as a face, in which order, and every way in which a data set can be broken."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.errors import CLRFaceError
from clrface_core.shards import MOST_BYTES, StoredFace, find_faces, read_faces


def picture(side: int | tuple[int, int] = 64, kind: str = "PNG", seed: int = 0) -> bytes:
    """A picture file of noise."""
    width, height = (side, side) if isinstance(side, int) else side
    pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, lossless=True)
    return stream.getvalue()


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def refusal(read: Callable[[], object]) -> str:
    """The sentence of the CLRFaceError that comes: one, with its end."""
    with pytest.raises(CLRFaceError) as caught:
        read()
    text = str(caught.value)
    assert text.startswith("Expected ") and "\n" not in text and text.endswith(".")
    return text


def test_a_store_gives_the_same_faces(tmp_path: Path) -> None:
    pytest.importorskip("upath", reason="needs universal-pathlib, of the extras `ray` and `test`")
    import fsspec

    memory = fsspec.filesystem("memory")
    members = {f"b-{seed}.png": picture(seed=seed) for seed in range(3)}
    memory.pipe_file("/faces/shards/x.tar", shard(tmp_path / "x.tar", members).read_bytes())
    memory.pipe_file("/faces/single/a-1.png", picture(seed=9))
    try:
        faces = read_faces(["memory://faces/shards", "memory://faces/single/a-1.png"])
        assert [face.key for face in faces] == ["b-0", "b-1", "b-2", "a-1"]
        assert [face.content for face in faces] == [*members.values(), picture(seed=9)]
        assert faces[0].place == "memory://faces/shards/x.tar (b-0.png)"
        assert "at memory://faces/none, found nothing" in refusal(lambda: read_faces("memory://faces/none"))
    finally:
        memory.store.clear()


def test_shards_folders_and_pictures_give_the_same_faces(tmp_path: Path) -> None:
    files = {"b-2.png": picture(seed=2), "b-1.webp": picture(kind="WEBP", seed=1), "README.txt": b"of this set"}
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    inside = shard(tmp_path / "x.tar", {f"faces/{name}": content for name, content in files.items()})
    for data in (folder, inside, [folder / "b-1.webp", folder / "b-2.png"]):
        faces = read_faces(data)
        assert [face.key for face in faces] == ["b-1", "b-2"]
        assert [face.content for face in faces] == [files["b-1.webp"], files["b-2.png"]]
        for face, seed in zip(faces, (1, 2), strict=True):
            expected = np.array(Image.open(io.BytesIO(picture(seed=seed))))
            assert torch.equal(face.pixels(), torch.from_numpy(expected).permute(2, 0, 1))


def test_the_order_is_that_of_the_paths_and_of_the_names_in_each(tmp_path: Path) -> None:
    first = shard(tmp_path / "z.tar", {"b-9.png": picture(), "b-3.png": picture()})
    second = shard(tmp_path / "a.tar", {"b-5.png": picture(), "a1-0.png": picture()})
    assert [face.key for face in find_faces([first, second])] == ["b-3", "b-9", "a1-0", "b-5"]
    assert [face.key for face in find_faces(tmp_path)] == ["a1-0", "b-5", "b-3", "b-9"], "shards of a folder by name"


def test_sets_are_names_up_to_the_first_dash() -> None:
    names = ["b-12", "p-someone-lq", "portrait"]
    assert [StoredFace(name, Path(name)).set_name for name in names] == ["b", "p", "faces"]


def test_what_hidden_files_hold_does_not_count(tmp_path: Path) -> None:
    path = shard(tmp_path / "mac.tar", {"._b-1.png": b"resources", "b-1.png": picture()})
    (tmp_path / "._b-2.png").write_bytes(b"resources")
    (tmp_path / "._mac.tar").write_bytes(b"resources")
    assert [face.place for face in read_faces(tmp_path)] == [f"{path} (b-1.png)"]


def test_pictures_are_upright_and_rgb(tmp_path: Path) -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(grey).save(tmp_path / "b-1.png", exif=exif)
    pixels = read_faces(tmp_path)[0].pixels()
    assert pixels.shape == (3, 64, 64) and pixels[:, 63].min() == 255 and pixels[:, 0].max() == 0


def test_no_path_and_no_picture_are_named(tmp_path: Path) -> None:
    assert "found nothing" in refusal(lambda: find_faces(tmp_path / "gone.tar"))
    (tmp_path / "README.txt").write_text("words")
    text = refusal(lambda: find_faces(tmp_path))
    assert "found none" in text and str(tmp_path) in text
    assert "found none" in refusal(lambda: find_faces(shard(tmp_path / "words.tar", {"README.txt": b"words"})))


@pytest.mark.parametrize("damage", ["text", "empty", "cut in a picture", "cut between", "header", "compressed"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    path = shard(tmp_path / "faces.tar", {"b-1.png": picture(), "b-2.png": picture()})
    content = bytearray(path.read_bytes())
    second = 512 + -(-len(picture()) // 512) * 512
    if damage == "text":
        content = bytearray(b"words, and more words\n" * 100)
    elif damage == "empty":
        content = bytearray()
    elif damage == "cut in a picture":
        del content[second + 1000 :]
    elif damage == "cut between":
        del content[second:]
    elif damage == "header":
        content[second : second + 100] = b"?" * 100
    path.write_bytes(content)
    if damage == "compressed":
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("b-1.png"))
    assert "faces.tar" in refusal(lambda: find_faces(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "could not read"),
        (b"words", "could not read"),
        (picture()[:20], "could not read"),
        (picture((64, 80)), "64x80"),
        (picture(63), "64 to 4096 px, got 63 px"),
    ],
)
def test_a_bad_member_is_named_with_its_shard(tmp_path: Path, content: bytes, said: str) -> None:
    path = shard(tmp_path / "faces.tar", {"b-1.png": picture(), "b-2.png": content})
    text = refusal(lambda: read_faces(path))
    assert "faces.tar (b-2.png)" in text and said in text


def test_a_picture_cut_short_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    path = shard(tmp_path / "faces.tar", {"b-1.png": picture()[:-2000]})
    (face,) = read_faces(path)  # its header is whole
    assert "faces.tar (b-1.png)" in refusal(face.pixels)


def test_faces_come_once(tmp_path: Path) -> None:
    first = shard(tmp_path / "a.tar", {"b-1.png": picture()})
    second = shard(tmp_path / "b.tar", {"b-1.webp": picture(kind="WEBP")})
    text = refusal(lambda: find_faces([first, second]))
    assert "a.tar (b-1.png)" in text and "b.tar (b-1.webp)" in text
    assert "b-1" in refusal(lambda: find_faces([first, first]))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_claimed_size_costs_no_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "huge.tar"
    entry = tarfile.TarInfo("b-1.png")
    entry.size = 2**30
    with path.open("wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + entry.size + 10240)  # holes: nothing on disk either
    tracemalloc.start()
    text = refusal(lambda: read_faces(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "at most 64 MB" in text and "1024 MB" in text and "huge.tar (b-1.png)" in text
    assert most < 2**22 < MOST_BYTES


def test_a_picture_of_absurd_size_is_never_decoded(tmp_path: Path) -> None:
    Image.new("1", (5000, 5000)).save(tmp_path / "b-1.png")
    assert "5000 px" in refusal(lambda: read_faces(tmp_path))
    Image.new("1", (20000, 20000)).save(tmp_path / "b-1.png")
    text = refusal(lambda: read_faces(tmp_path))
    assert "b-1.png" in text and "4096 px" in text
