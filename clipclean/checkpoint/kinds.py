"""What kind of file its first bytes say it is: names and suffixes are not believed."""

import re
from typing import Literal

from clipclean.errors import RefusedInput, UnsupportedModel

Kind = Literal["zip", "pickle", "safetensors"]

# First bytes of files that people pass by mistake, each with the way out.
MISTAKEN = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights themselves. Run `git lfs pull` and try again",
    b"\x93NUMPY": "a NumPy array. Save a state_dict as safetensors instead",
    b"\x89HDF": "an HDF5 file (Keras). Only PyTorch and safetensors weights of CLIP are read",
    b"GGUF": "a GGUF file. Use the original checkpoint that it was converted from",
    b"\x1f\x8b": "compressed with gzip. Decompress it first",
    b"BZh": "compressed with bzip2. Decompress it first",
    b"\xfd7zXZ": "compressed with xz. Decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Decompress it first",
    b"7z\xbc\xaf": "a 7z archive. Unpack it first",
    b"Rar!": "a RAR archive. Unpack it first",
    b"PK\x05\x06": "an empty zip archive. Download or copy it again",
}
TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")


def tell(head: bytes, /) -> Kind:
    """Name the container from the first 512 bytes of a file.

    Raises:
        UnsupportedModel: it is a legacy tar checkpoint.
        RefusedInput: it is anything else that clipclean does not read.
    """
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    for magic, words in MISTAKEN.items():
        if head.startswith(magic):
            raise RefusedInput(f"it is {words}.")
    if head[257:262] == b"ustar" or head.startswith(b"././@LongLink"):
        raise UnsupportedModel(
            "it is a tar archive. Checkpoints from before PyTorch 0.4 were tars, and their loader runs code; "
            "re-save the state_dict with a current torch.save, or as safetensors."
        )
    # The length of a safetensors header may begin with the byte of a pickle. Its upper half is zero, and where that of a
    # pickle is, in the length of a frame, more zeros follow in place of the brace.
    if head[8:9] == b"{" and (head[0] != 0x80 or head[4:8] == bytes(4)):
        return "safetensors"
    if head[0] == 0x80:
        return "pickle"
    if TEXT.fullmatch(head):
        raise RefusedInput("it is a text file, not a checkpoint. Check the path, or whether a download failed.")
    raise RefusedInput(
        "it is neither a PyTorch checkpoint, nor a TorchScript archive, nor a safetensors file. "
        "Check the path, or whether the file is complete."
    )
