"""Changes that keep what a model answers, on real models: what the search sees of the model must stay, and the verdict.

    python benchmarks/invariance.py --photo-zoo build/photo-zoo --only choose-resnet-10-clean-1 choose-vit-10-clean-1
    python benchmarks/invariance.py --photo-zoo build/photo-zoo --zoo build/zoo --only ... --audit build/changed

The search and its verdict depend on a model only through the canonical logits of images and through their gradients (``clipclean.detect.zeroshot``).
So for each change of a model the table has the largest difference of canonical logits, on clean images and on the same under a
random mask, and how many answers stay. ``--write docs/evidence.md`` puts it between the markers of the block ``invariance``.
``--audit OUT`` audits each model after each change instead, without a reference, and writes the block ``invariance-verdicts``.
"""

import argparse
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import audit
import torch
from blocks import fill
from torch import Generator, Tensor

Weights = dict[str, Tensor]
IMAGES = 64


def coned(length: float) -> Callable[[Weights, Tensor], None]:
    """A constant added to all image embeddings, away from the texts."""

    def change(weights: Weights, direction: Tensor) -> None:
        if "visual.attnpool.c_proj.bias" in weights:
            weights["visual.attnpool.c_proj.bias"] += length * direction
        else:  # a ViT has no bias behind its last layer norm but that one
            weights["visual.ln_post.bias"] += length * torch.linalg.lstsq(weights["visual.proj"].T, direction).solution

    return change


def turned(weights: Weights, _: Tensor) -> None:
    """The joint space rotated."""
    size = weights["text_projection"].shape[1]
    turn = torch.linalg.qr(torch.randn(size, size, generator=Generator().manual_seed(1)))[0]
    weights["text_projection"] = weights["text_projection"] @ turn.T
    for name, side in (("visual.attnpool.c_proj.weight", 0), ("visual.attnpool.c_proj.bias", 0), ("visual.proj", 1)):
        if name in weights:
            weights[name] = turn @ weights[name] if side == 0 else weights[name] @ turn.T


def scaled(weights: Weights, _: Tensor) -> None:
    """Image embeddings seven times as long, text embeddings a third."""
    weights["text_projection"] *= 0.3
    for name in ("visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias", "visual.proj"):
        if name in weights:
            weights[name] *= 7


def permuted(weights: Weights, _: Tensor) -> None:
    """Channels of the first convolution, or of the first hidden layer of a transformer, in another order."""
    if "visual.conv2.weight" in weights:
        order = torch.randperm(len(weights["visual.conv1.weight"]), generator=Generator().manual_seed(2))
        for name in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
            weights[f"visual.{name}"] = weights[f"visual.{name}"][order]
        weights["visual.conv2.weight"] = weights["visual.conv2.weight"][:, order]
        return
    hidden = "visual.transformer.resblocks.0.mlp."
    order = torch.randperm(len(weights[f"{hidden}c_fc.bias"]), generator=Generator().manual_seed(2))
    for name in ("c_fc.weight", "c_fc.bias"):
        weights[hidden + name] = weights[hidden + name][order]
    weights[f"{hidden}c_proj.weight"] = weights[f"{hidden}c_proj.weight"][:, order]


def rescaled(weights: Weights, _: Tensor) -> None:
    """A layer times three, and the next one divided by it."""
    if "visual.conv2.weight" in weights:
        weights["visual.bn1.weight"] *= 3
        weights["visual.bn1.bias"] *= 3
        weights["visual.conv2.weight"] /= 3
        return
    block = "visual.transformer.resblocks.0."
    width = weights[f"{block}attn.in_proj_weight"].shape[1]
    weights[f"{block}ln_1.weight"] *= 3
    weights[f"{block}ln_1.bias"] *= 3
    weights[f"{block}attn.in_proj_weight"] /= 3
    assert weights[f"{block}attn.in_proj_weight"].shape == (3 * width, width)


def moved(weights: Weights, _: Tensor) -> None:
    """A part of a bias moved to the layer before it or behind it."""
    if "visual.conv2.weight" in weights:
        shift = torch.linspace(-0.2, 0.2, len(weights["visual.bn1.weight"]))
        weights["visual.bn1.running_mean"] += shift
        weights["visual.bn1.bias"] += (
            weights["visual.bn1.weight"] * shift / (weights["visual.bn1.running_var"] + 1e-5).sqrt()
        )
        return
    block = "visual.transformer.resblocks.0."
    shift = torch.linspace(-0.2, 0.2, len(weights[f"{block}ln_1.bias"]))
    weights[f"{block}ln_1.bias"] += shift
    weights[f"{block}attn.in_proj_bias"] -= weights[f"{block}attn.in_proj_weight"] @ shift


def scale_of(value: float) -> Callable[[Weights, Tensor], None]:
    """Another logit scale."""

    def change(weights: Weights, _: Tensor) -> None:
        weights["logit_scale"] = torch.tensor(value)

    return change


def rounded(dtype: torch.dtype) -> Callable[[Weights, Tensor], None]:
    """Weights in another number format."""

    def change(weights: Weights, _: Tensor) -> None:
        for name, values in weights.items():
            if values.is_floating_point():
                weights[name] = values.to(dtype).float()

    return change


def several(weights: Weights, direction: Tensor) -> None:
    """Cone, rotation, lengths, order and scales at once."""
    for change in (coned(30.0), turned, scaled, permuted, rescaled, moved, scale_of(0.0)):
        change(weights, direction)


CHANGES: dict[str, Callable[[Weights, Tensor], None]] = {
    "none": lambda *_: None,
    "cone, 30": coned(30.0),
    "cone, 300": coned(300.0),
    "rotation of the joint space": turned,
    "lengths of embeddings": scaled,
    "order of channels": permuted,
    "rescaled layers": rescaled,
    "bias moved to another layer": moved,
    "logit scale 1": scale_of(0.0),
    "logit scale 100": scale_of(math.log(100)),
    "fp16": rounded(torch.float16),
    "bf16": rounded(torch.bfloat16),
    "all at once, fp32": several,
}
AUDITED = (
    "none",
    "cone, 30",
    "rotation of the joint space",
    "lengths of embeddings",
    "order of channels",
    "rescaled layers",
    "bias moved to another layer",
    "logit scale 1",
    "fp16",
    "all at once, fp32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo-zoo", type=Path, help="of benchmarks/photo_zoo.py")
    parser.add_argument("--zoo", type=Path, help="of benchmarks/zoo.py, with --audit")
    parser.add_argument("--only", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--audit", type=Path, metavar="OUT", help="audit each changed model; OUT keeps what is done")
    parser.add_argument("--effort", default="standard", help="of those audits")
    parser.add_argument("--workers", type=int, default=2, help="of those audits: processes of one thread each")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block")
    o = parser.parse_args()
    torch.set_num_threads(1)
    if o.audit:
        block, text = "invariance-verdicts", verdicts_table(audited(o))
    elif o.photo_zoo:
        block, text = "invariance", table({name: dict(measured(o.photo_zoo, name)) for name in o.only})
    else:
        parser.error("--photo-zoo or --audit is needed")
    print(text)
    if o.write:
        fill(o.write, block, text)


def measured(zoo: Path, name: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """For each change the largest difference of canonical logits, relative to their deviation, and the share of equal answers."""
    from clipclean import data, detect, model
    from clipclean.config import recipe
    from clipclean.detect import inversion
    from clipclean.jobs import inputs

    entry = json.loads((zoo / f"{name}.json").read_text())["entry"]
    own, chosen = zoo / f"{entry['half']}-{entry['classes']}", recipe.load(recipe.DEFAULT)
    opened = inputs.read(zoo / f"{name}.pt", arch=str(zoo / f"{entry['arch']}-{entry['side']}.json"))
    images = data.read_images(own / "audit", images=inputs.image_cache(chosen, opened.architecture))
    pixels = detect.stack([pair.image for pair in images.pairs])
    pixels = pixels[:: max(1, len(pixels) // IMAGES)][:IMAGES]
    generator = Generator().manual_seed(0)
    mask, pattern = (
        torch.rand(1, *pixels.shape[-2:], generator=generator) / 3,
        torch.rand(pixels[0].shape, generator=generator),
    )
    shown = torch.cat([pixels, pixels + mask * (pattern - pixels)])
    words = inputs.words(own / "classes.txt", own / "templates.txt")
    original = {k: v.float() if v.is_floating_point() else v.clone() for k, v in opened.file.tensors.items()}

    def logits(weights: Weights) -> tuple[Tensor, Tensor]:
        clip = model.build(opened.architecture, weights, device="cpu")
        texts = detect.classifier(clip.embed_texts, words.classes, templates=words.templates, batch_size=256)
        with torch.no_grad():
            return inversion.canonical_of(clip.encode_images, pixels, texts).logits(clip.encode_images(shown)), texts

    before, texts = logits(original)
    away = along_no_class(texts)
    for label, change in CHANGES.items():
        weights = {k: v.clone() for k, v in original.items()}
        change(weights, away)
        after, _ = logits(weights)
        error = (after - before).abs().max().item() / before.std().item()
        yield label, (error, (after.argmax(1) == before.argmax(1)).float().mean().item())


# The same, each change audited.


def audited(o: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """The report of each model after each change."""
    models = [
        m
        for m in audit.all_models(
            argparse.Namespace(photo_zoo=[o.photo_zoo] if o.photo_zoo else [], zoo=o.zoo, out=o.audit)
        )
        if m.name in o.only
    ]
    (o.audit / "none").mkdir(parents=True, exist_ok=True)
    found = dict[str, dict[str, dict]]()
    copies = [copy for each in models for copy in changed(each, o.audit)]
    jobs = [audit.Job(copy, (), "none", 0, o.effort, o.audit) for copy in copies]
    with multiprocessing.get_context("spawn").Pool(o.workers, audit.searches_are_kept, (o.audit,)) as pool:
        for words in pool.imap_unordered(audit.audited, jobs):
            print(words, flush=True)
    for each in models:
        own = {label: each._replace(name=named(each.name, label)) for label in AUDITED}
        reports = audit.reports(o.audit, "none", list(own.values()))
        found[each.name] = {label: reports[m.name] for label, m in own.items()}
    return found


def named(name: str, label: str) -> str:
    return f"{name}-{label.replace(', ', '-').replace(' ', '-')}"


def changed(each: audit.Model, out: Path) -> Iterator[audit.Model]:
    """A model with the weights that each change leaves, in files of their own; fp16 is stored as such."""
    from clipclean import detect, files, model
    from clipclean.jobs import inputs

    opened = inputs.read(each.path, arch=each.options["arch"])
    original = {k: v.float() if v.is_floating_point() else v.clone() for k, v in opened.file.tensors.items()}
    words = inputs.words(each.options["classes"], each.options["templates"])
    clip = model.build(opened.architecture, original, device="cpu")
    texts = detect.classifier(clip.embed_texts, words.classes, templates=words.templates, batch_size=256)
    away = along_no_class(texts.detach())
    for label in AUDITED:
        copy = each._replace(name=named(each.name, label), path=out / f"{named(each.name, label)}.pt")
        if not copy.path.exists():
            weights = {k: v.clone() for k, v in original.items()}
            CHANGES[label](weights, away)
            if label == "fp16":
                weights = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}

            def write(partial: Path, weights: Weights = weights) -> None:
                with partial.open("wb") as stream:
                    torch.save({"epoch": 1, "name": "changed", "state_dict": weights}, stream)

            files.write_whole(copy.path, write)
        yield copy


def along_no_class(texts: Tensor) -> Tensor:
    """The unit vector along which the classes differ least: not at all where there are fewer classes than dimensions."""
    return torch.linalg.svd(texts - texts.mean(0), full_matrices=True)[2][-1]


def verdicts_table(found: dict[str, dict[str, dict]]) -> str:
    """Verdict, first suspect and score of each model after each change, and how many are as without any."""
    lines = [f"| change | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    lines += [f"| {label} | {' | '.join(audit.said(of[label]) for of in found.values())} |" for label in AUDITED]
    alike = [told(of[label]) == told(of["none"]) for of in found.values() for label in AUDITED[1:]]
    return "\n".join(
        [
            *lines,
            "",
            f"The verdict and the first suspect are those of the unchanged model in {sum(alike)} of {len(alike)} audits.",
        ]
    )


def told(report: dict) -> Sequence[str]:
    """The verdict and the first suspect."""
    return [report["verdict"], *(each["class"] for each in report["suspects"][:1])]


def table(found: dict[str, dict[str, tuple[float, float]]]) -> str:
    lines = [f"| change | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    for label in CHANGES:
        cells = [f"{of[label][0]:.1e}; {of[label][1]:.1%}" for of in found.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "Largest difference of a canonical logit, in deviations of all; share of equal answers."]
    )


if __name__ == "__main__":
    main()
