"""The TorchScript reader on archives that OpenAI's public CLIP code wrote, with random weights.

    git clone https://github.com/openai/CLIP build/openai-clip
    python benchmarks/openai_archives.py --clip build/openai-clip --write benchmarks/results/safety.md

OpenAI's releases are such archives: their model traced in half precision. Their code is imported from where it was
cloned, the model is built, traced and saved as theirs are, and read by clipclean. Expected: every tensor of the state
dict with the same bits and no other, the architecture told by its shapes, the activation by the name of its class; and
the model that clipclean builds embeds as theirs does, both in single precision.
"""

import argparse
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from blocks import fill

from clipclean import checkpoint, model

SIZES = {  # embedding, pixels, layers, width, patch, context, vocabulary, text width, heads, layers
    "ViT-B-32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "ViT-L-14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
}
BLOCK = "openai"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="a clone of github.com/openai/CLIP")
    parser.add_argument("--out", type=Path, default=Path("build/openai-archives"), help="folder for the archives")
    parser.add_argument("--names", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block openai")
    o = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch.jit is deprecated
    o.out.mkdir(parents=True, exist_ok=True)
    theirs = their_code(o.clip)
    rows = []
    for name in o.names:
        rows.append(row(name, theirs, o.out / f"{name}.pt"))
        print(rows[-1], flush=True)
    asked = ["git", "-C", str(o.clip), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    head = [
        "| model | archive | tensors there, and read | of equal bits | architecture | activation | largest difference of unit embeddings, images, texts |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    told = "\n".join([*head, *rows, "", f"Random weights, seed 0; openai/CLIP at {commit}, PyTorch {version()}."])
    if o.write:
        fill(o.write, BLOCK, told)
    return 0


def version() -> str:
    return torch.__version__.partition("+")[0]


def their_code(clone: Path) -> ModuleType:
    """clip/model.py, which needs torch and numpy alone."""
    spec = importlib.util.spec_from_file_location("openai_clip_model", clone / "clip" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def row(name: str, theirs: ModuleType, path: Path) -> str:
    """One archive, written and read."""
    torch.manual_seed(0)
    net = theirs.CLIP(*SIZES[name]).eval()
    pixels, tokens = torch.randn(2, 3, 224, 224), torch.zeros(2, 77, dtype=torch.long)
    tokens[:, 0], tokens[0, 1:3], tokens[0, 3], tokens[1, 1] = 49406, torch.tensor([320, 1929]), 49407, 49407
    theirs.convert_weights(net)
    stored = {key: value.clone() for key, value in net.state_dict().items()}
    write(net, path, pixels, tokens)
    found = checkpoint.read(path)
    equal = sum(
        key in found.tensors and value.dtype == found.tensors[key].dtype and torch.equal(value, found.tensors[key])
        for key, value in stored.items()
    )
    known = model.resolve(found.tensors, arch=None, config=found.config, script_quick_gelu=found.quick_gelu)
    clip = model.build(known, found.tensors, device="cpu")
    net = net.float()
    with torch.no_grad():
        images = difference(net.encode_image(pixels), clip.net.encode_image(pixels))
        texts = difference(net.encode_text(tokens), clip.net.encode_text(tokens))
    cells = (
        name,
        f"{found.format}, {found.size / 1e6:.0f} MB",
        f"{len(stored)}, {len(found.tensors)}",
        equal,
        f"{known.name}: {known.how}",
        known.activation_how,
        f"{images:.1e}, {texts:.1e}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def write(net: torch.nn.Module, path: Path, pixels: torch.Tensor, tokens: torch.Tensor) -> None:
    """Traced with both towers as methods, and with the three settings that their releases hold beside the weights."""
    for setting, value in (("input_resolution", pixels.shape[-1]), ("context_length", 77), ("vocab_size", 49408)):
        net.__dict__.pop(setting, None)
        net.register_buffer(setting, torch.tensor(value))
    methods = {"encode_image": pixels.to(net.dtype), "encode_text": tokens}
    with torch.no_grad():
        traced = torch.jit.trace_module(net, methods, check_trace=False)
    traced.save(str(path))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of unit embeddings."""
    return float((one / one.norm(dim=-1, keepdim=True) - other / other.norm(dim=-1, keepdim=True)).abs().max())


if __name__ == "__main__":
    sys.exit(main())
