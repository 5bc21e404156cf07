"""Embed with open_clip alone what an export folder holds: the child process of the parity check."""

import os
import sys

import numpy as np
import torch


def main(folder: str, asked: str, answered: str, /) -> None:
    """Load ``local-dir:folder``, embed ``pixels`` and ``tokens`` of the npz ``asked``, write the npz ``answered``."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before open_clip: nothing is looked up on a hub
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with np.load(asked, allow_pickle=False) as inputs, torch.no_grad():
        images = model.encode_image(torch.from_numpy(inputs["pixels"]), normalize=True)
        texts = model.encode_text(torch.from_numpy(inputs["tokens"]), normalize=True)
    np.savez(answered, images=images.numpy(), texts=texts.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
