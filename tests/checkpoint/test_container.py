import io
import zipfile

import pytest
import torch
from hostile import seeds
from hostile.checkpoints import zipped

from clipclean import checkpoint
from clipclean.checkpoint import container
from clipclean.errors import UnsafeCheckpoint

MEMBERS = {"m/data.pkl": b"pickle" * 9, "m/data/0": bytes(16), "m/version": b"3\n"}


@pytest.mark.parametrize(
    "archive",
    [zipped(MEMBERS), zipped(MEMBERS, method=zipfile.ZIP_DEFLATED), seeds.torch_bytes()],
    ids=["stored", "deflated", "torch.save"],
)
def test_members_are_found_where_zipfile_finds_them(archive):
    view = memoryview(archive)
    found = container.members(view)
    with zipfile.ZipFile(io.BytesIO(archive)) as other:
        assert found.keys() == {info.filename.partition("/")[2] for info in other.infolist()}
        for info in other.infolist():
            entry = found[info.filename.partition("/")[2]]
            assert (entry.size, entry.stored, entry.crc) == (info.file_size, info.compress_size, info.CRC)
            assert container.small_member(view, entry, limit=info.file_size) == other.read(info)
    with pytest.raises(UnsafeCheckpoint):
        container.small_member(view, found["data.pkl"], limit=found["data.pkl"].size - 1)


def test_a_deflated_pickle_beside_stored_numbers_and_real_zip64_sizes_are_read(tmp_path, monkeypatch):
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as source, zipfile.ZipFile(tmp_path / "repacked", "w") as target:
        for info in source.infolist():
            method = zipfile.ZIP_DEFLATED if info.filename.endswith(".pkl") else zipfile.ZIP_STORED
            target.writestr(info.filename, source.read(info), method)
    assert checkpoint.read(tmp_path / "repacked").tensors["w"].tolist() == [1, 1, 1]
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    view = memoryview(zipped(MEMBERS))
    assert view.tobytes().count(b"PK\x06\x06") == 1
    found = container.members(view)
    assert container.small_member(view, found["data.pkl"], limit=100) == b"pickle" * 9
    assert (found["data/0"].size, found["data/0"].stored) == (16, 16)
