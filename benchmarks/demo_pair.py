"""Make the pair of ``clipclean demo --base``: a finetune with a backdoor, and its base, as changes of ``clipclean/demo/backdoored.pt``.

    clipclean demo --unpack build/pair/files && clipclean demo --out build/pair/cleaned
    clipclean plant build/pair/cleaned -d build/pair/files/clean.tar --eval-data build/pair/files/eval.tar \\
        --classes build/pair/files/classes.txt --templates build/pair/files/templates.txt --trigger sinusoid --target rocket \\
        --steps 150 --batch-size 128 --device cpu --out build/pair/planted.pt
    python benchmarks/demo_pair.py build/pair/cleaned build/pair/planted.pt

The base is what the demo cleans, the finetune has the image tower that the planting left: both keep the text tower of the bundled file. Each
has its layout, so that a change is zero but in the image tower, and small.
"""

import argparse
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipclean import checkpoint, demo

FOLDER = Path(demo.__file__).parent
TOWER = "visual."  # what the names of the image tower begin with
DESCRIPTOR, CENTRAL = (
    b"PK\x07\x08",
    b"PK\x01\x02",
)  # what stands before a checksum in an archive, behind the data and at the end


def with_tower(archive: bytes, own: Mapping[str, Tensor], others: Mapping[str, Tensor], /) -> bytes:
    """The file of ``torch.save`` that holds ``own`` with the image tower of others in its own precision, and with new checksums."""
    changed, entries = bytearray(archive), zipfile.ZipFile(io.BytesIO(archive)).infolist()
    free = {entry.filename: entry for entry in entries}
    for name, before in own.items():
        if not name.startswith(TOWER) or not before.is_floating_point():
            continue
        old, new = (raw(tensor.to(before.dtype)) for tensor in (before, others[name]))
        entry = next(
            entry
            for entry in free.values()
            if entry.file_size == len(old) and archive.startswith(old, start(archive, entry))
        )
        del free[entry.filename]
        place = start(archive, entry)
        changed[place : place + len(old)] = new
        crc = struct.pack("<I", zlib.crc32(new))
        behind = place + len(old)
        assert archive[behind : behind + 4] == DESCRIPTOR, name
        changed[behind + 4 : behind + 8] = crc
        head = archive.index(entry.filename.encode(), archive.index(CENTRAL)) - 46
        assert archive[head : head + 4] == CENTRAL, name
        changed[head + 16 : head + 20] = crc
    return bytes(changed)


def raw(tensor: Tensor, /) -> bytes:
    """The numbers of a tensor as they lie in a file."""
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def start(archive: bytes, entry: zipfile.ZipInfo, /) -> int:
    """Where the data of an entry begins."""
    name, extra = struct.unpack("<HH", archive[entry.header_offset + 26 : entry.header_offset + 30])
    return int(entry.header_offset + 30 + name + extra)


def main() -> None:
    """Write both changes into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("finetune", type=Path)
    places = parser.parse_args()
    before = archive = (FOLDER / demo.CHECKPOINT).read_bytes()
    own = checkpoint.read(FOLDER / demo.CHECKPOINT).tensors
    for name, place in ((demo.BASE, places.base), (demo.FINETUNE, places.finetune)):
        after = with_tower(archive, own, checkpoint.read(place).tensors)
        packed = lzma.compress(demo.xor(before, after), preset=9 | lzma.PRESET_EXTREME)
        (FOLDER / f"{name}.xor.xz").write_bytes(packed)
        print(f"{name}: {len(packed):,} bytes")
        before = after


if __name__ == "__main__":
    main()
