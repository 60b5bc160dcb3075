"""Paths and URLs: read, written, listed and refused in the same words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.photo import read_note, read_photo, write_photo
from clrface_core.storage import as_path, is_remote, list_files, make_folder, plain_errors, write_whole

pytest.importorskip("upath", reason="needs universal-pathlib, of the extras `ray` and `test`")


@pytest.fixture
def store() -> Iterator[Path]:
    """An empty folder of an object store in memory."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield as_path("memory://album")
    memory.store.clear()


def test_what_is_a_url(tmp_path: Path) -> None:
    for text in ("photo.jpg", "/a/b", "C:\\photos", "C:/photos", "odd://"[:-2], "a:b"):
        assert as_path(text) == Path(text) and not is_remote(as_path(text))
    assert as_path(tmp_path.as_uri()) == tmp_path
    assert is_remote(as_path("memory://album/a.jpg"))
    with pytest.raises(CLRFaceError, match="Expected a URL that fsspec can open, got nowhere://a"):
        as_path("nowhere://a")


def test_pictures_come_and_go(store: Path) -> None:
    picture = torch.arange(48).reshape(3, 4, 4) / 48
    write_photo(store / "a.png", picture, note="made of numbers")
    assert torch.allclose(read_photo("memory://album/a.png").rgb, picture, atol=1 / 255)
    assert read_note("memory://album/a.png") == ("made of numbers", True)
    with pytest.raises(CLRFaceError, match=r"found nothing at memory://album/b\.png"):
        read_photo("memory://album/b.png")
    assert read_note("memory://album/b.png") is None


def test_folders_are_listed_at_once(store: Path) -> None:
    make_folder(store / "never made")
    for name in ("b.jpg", "a.jpg", "deeper/c.jpg"):
        write_whole(store / name, b"x")
    assert list_files(store, recursive=True) == ["a.jpg", "b.jpg", "deeper/c.jpg"]
    assert list_files(store, recursive=False) == ["a.jpg", "b.jpg"]


def test_where_files_grow_they_get_their_name_when_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from upath import UPath

    target = UPath(tmp_path.as_uri()) / "a.bin"  # acts as any store that is none of objects
    write_whole(target, b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left")

    monkeypatch.setattr(type(target.fs), "mv", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, b"another")
    assert (tmp_path / "a.bin").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1


def test_errors_of_stores_are_oserrors(store: Path) -> None:
    with pytest.raises(OSError, match="LookupError: no credentials"), plain_errors(store):
        raise LookupError("no credentials")
    with pytest.raises(LookupError), plain_errors(Path("a")):  # of a local file it is a fault of ours
        raise LookupError
