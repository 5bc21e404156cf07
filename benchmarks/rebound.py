"""What keeps a backdoor from coming back: each measure of unlearning and of the finetuning after it, changed alone.

    python benchmarks/rebound.py --photos build/photos --images tiny-imagenet-200 --zoo build/photo-zoo --out build/rebound --only NAME...
    python benchmarks/rebound.py --out build/rebound --table --write docs/evidence.md

One search of a victim of ``benchmarks/photo_zoo.py`` finds triggers, without knowledge of what was planted. One round of ``unlearn@tiny``
then forgets these, in each of the ways of FORGETTING; and from the shipped way on, each of FOLLOWING finetunes further. What was planted is
measured after that, and after a benign finetuning with another seed. ``projected`` takes out of each update the part that would bring the
found triggers back, by their own gradient.
"""

import argparse
import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from photo_cleaning import figures, loaded, shown_to, victims
from torch import Generator, Tensor, nn

from clipclean import detect, model, train
from clipclean.config import policy
from clipclean.config.recipe import Recipe
from clipclean.methods import training, unlearning

WEAKER, LEAST_WEAK = "weaker triggers too", 0.3  # excess on unseen images; shipped: 0.7
OTHERS = "natural triggers of other classes too"  # by the anomaly index alone
FORGETTING: dict[str, dict[str, Any]] = {
    "shipped": {},
    "triggers as found": {"shift": 0.0, "strength": (1.0, 1.0)},
    "whole images": {"least_part": 1.0},
    WEAKER: {},
    OTHERS: {},
    "last stage alone": {"stage": "last"},
    "carrying stage alone": {"stage": "carrying"},
}
FOLLOWING = {
    "par, rehearsed": ("par@tiny", True, False),
    "par": ("par@tiny", False, False),
    "par, projected": ("par@tiny", False, True),
    "L_CLIP, rehearsed": ("mmcl@tiny", True, False),
    "L_CLIP": ("mmcl@tiny", False, False),
    "L_CLIP, projected": ("mmcl@tiny", False, True),
    "CleanCLIP for few pairs, rehearsed": ("cleanclip@few", True, False),
    "CleanCLIP for few pairs": ("cleanclip@few", False, False),
}
SEED = 0
PROJECTING_IMAGES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), default="choose")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--table", action="store_true", help="compute nothing: print what is there")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block rebound")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    if not o.table:
        torch.set_num_threads(1)
        for entry in victims(o):
            place = o.out / f"{entry['name']}.json"
            known = json.loads(place.read_text()) if place.exists() else {}
            if {*FORGETTING, *FOLLOWING} - known.keys():
                place.write_text(json.dumps(known | measured(o, entry, known), indent=1) + "\n")
    text = table([json.loads(path.read_text()) for path in sorted(o.out.glob("*.json"))])
    print(text)
    if o.write:
        from blocks import fill

        fill(o.write, "rebound", text)


def measured(o: argparse.Namespace, entry: dict, known: dict) -> dict:
    """Every way on one victim that is not known yet."""
    from zoo import finetune_benignly

    from clipclean.config import recipe
    from clipclean.jobs import inputs
    from clipclean.train.loader import Samples
    from clipclean.train.run import Run

    tested, pairs = loaded(o, entry)
    clip = tested.clip
    evidence = dataclasses.replace(shown_to(o, entry), scale=float(clip.logit_scale().detach()))
    before = inputs.measure(clip, evidence)
    weights = copy.deepcopy(clip.net.state_dict())
    chosen, samples = recipe.load("unlearn@tiny"), Samples(pairs, None)
    run = Run(SEED, "fp32", lambda what, done, total: None)
    classifier, classes = before.text_classifier, evidence.classes
    scene = unlearning.scene_of(clip, pairs, chosen, text_classifier=classifier, classes=classes, known=(), seed=SEED)
    result = unlearning.searched(clip, scene, course=detect.Course(SEED, lambda done, total: None))
    limits = policy.resolved(policy.DEFAULT, chosen.audit)
    named = {suspect.name for suspect in detect.suspected(result, limits=limits)}
    least = chosen.unlearn.outlyingness
    caught = unlearning.first_caught(result.targeted, outlyingness=least, named=named)
    everybody = unlearning.first_caught(result.targeted, outlyingness=least)
    told = {"entry": entry, "before": figures(before), "found": [c.record().as_json() for c in caught]}

    def both() -> dict[str, dict]:
        after = inputs.measure(clip, evidence)
        finetune_benignly(clip, pairs)
        return {"after": figures(after), "rebound": figures(inputs.measure(clip, evidence))}

    if "nothing" not in known:
        clip.net.load_state_dict(weights)
        finetune_benignly(clip, pairs)
        told |= {"nothing": {"after": told["before"], "rebound": figures(inputs.measure(clip, evidence))}}
    forgotten: dict[str, Tensor] = {}
    for name, how in FORGETTING.items():
        if name in known and name != "shipped":
            continue
        clip.net.load_state_dict(weights)
        mine = {WEAKER: weaker(result, chosen, named), OTHERS: everybody}.get(name, caught)
        if mine:
            forget(clip, scene, mine, pairs, chosen, how)
        if name == "shipped":
            forgotten = copy.deepcopy(clip.net.state_dict())
        told[name] = {"triggers": len(mine)} | both()
        print(entry["name"], name, line(told[name]), flush=True)
    for name, (method, is_rehearsed, is_projected) in FOLLOWING.items() if caught else ():
        if name in known:
            continue
        clip.net.load_state_dict(forgotten)
        group = Projecting(0, 1, clip, scene, unlearning.leads(caught)) if is_projected else train.ALONE
        rehearsed = unlearning.leads(caught) if is_rehearsed else ()
        aims = training.Aims(before.text_classifier, rehearsed=rehearsed)
        training.clean(clip, samples, recipe.load(method), aims=aims, run=dataclasses.replace(run, group=group))
        told[name] = both()
        print(entry["name"], name, line(told[name]), flush=True)
    return told


def weaker(result: detect.SearchResult, chosen: Recipe, named: set[str]) -> tuple[unlearning.RecoveredTrigger, ...]:
    """Triggers towards the same classes that stand out, with those that turn few unseen images."""
    return tuple(
        unlearning.RecoveredTrigger(0, t.found, t.candidate.target, t.candidate.size, t.anomaly_index, t.probe.excess)
        for t in result.targeted
        if t.anomaly_index >= chosen.unlearn.outlyingness
        and t.probe.excess >= LEAST_WEAK
        and (not named or t.found.target in named)
    )


def forget(
    clip: model.Clip,
    scene: unlearning.Scene,
    caught: tuple[unlearning.RecoveredTrigger, ...],
    pairs: list,
    chosen: Recipe,
    how: dict[str, Any],
) -> None:
    """One round, in place; of the image tower all, or one stage alone."""
    changes = {key: value for key, value in how.items() if key != "stage"}
    original, leads = model.frozen_copy(clip), unlearning.leads(caught)
    stages = stages_of(clip.net.visual)
    moved = None
    if how.get("stage") == "last":
        moved = stages[-1]
    elif how.get("stage") == "carrying":
        moved = max(stages[1:], key=lambda stage: carried(clip, stage, scene.pixels[:128], leads))
    if moved is not None:
        clip.net.visual.requires_grad_(False)
        moved.requires_grad_(True)
    unlearning.forget(
        clip,
        original,
        unlearning._batches(clip, pairs, chosen, seed=SEED, group=train.ALONE)(0),
        unlearning.RoundTriggers(leads, leads),
        chosen.model_copy(update={"unlearn": chosen.unlearn.model_copy(update=changes)}),
        generator=Generator().manual_seed(SEED),
        progress=lambda done: None,
    )
    clip.net.visual.requires_grad_(True)


def stages_of(tower: nn.Module) -> list[nn.Module]:
    """Layers of a ResNet, blocks of a ViT."""
    if hasattr(tower, "layer4"):
        return [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
    return list(tower.transformer.resblocks)


@torch.no_grad()
def carried(clip: model.Clip, stage: nn.Module, pixels: Tensor, leads: tuple) -> float:
    """How far the triggers move the output of a stage, relative to how far its input moves: where the backdoor grows."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = stage.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    grown = 0.0
    try:
        for trigger, _ in leads:
            clip.embed_images(pixels)
            clip.embed_images(trigger(pixels, Generator().manual_seed(0)))
            (before, after), (hurt, result) = seen[-2:]
            moved = lambda a, b: float((a - b).norm() / a.norm())  # noqa: E731
            grown += moved(after, result) / max(moved(before, hurt), 1e-9)
    finally:
        hook.remove()
    return grown


@dataclass(frozen=True)
class Projecting(train.Group):
    """One process whose updates lose what would bring the triggers back."""

    clip: model.Clip
    scene: unlearning.Scene
    leads: tuple[unlearning.SuspectedTrigger, ...]

    def average(self, net: nn.Module, parts: dict[str, Tensor], /) -> dict[str, Tensor]:
        """Take from the gradients their component along that of the attack, where a step would help it."""
        tower = self.clip.net.visual
        moved = [p for p in tower.parameters() if p.grad is not None]
        generator = Generator().manual_seed(int(parts["loss"] * 1e6) % 2**31)
        trigger, target = self.leads[int(torch.randint(len(self.leads), (), generator=generator))]
        some = self.scene.pixels[torch.randint(len(self.scene.pixels), (PROJECTING_IMAGES,), generator=generator)]
        with model.evaluating(self.clip.net):
            logits = 20 * self.clip.encode_images(trigger(some, generator)) @ self.scene.text_classifier.T
            attack = F.cross_entropy(logits, torch.full((len(some),), target))
            towards = torch.autograd.grad(attack, moved)
        along = sum(float((p.grad * h).sum()) for p, h in zip(moved, towards, strict=True))
        length = sum(float(h.square().sum()) for h in towards)
        if along > 0 and length > 0:  # a step down the loss is then a step down that of the attack
            for p, h in zip(moved, towards, strict=True):
                p.grad -= along / length * h
        return parts


def line(told: dict) -> str:
    after, back = told["after"], told["rebound"]
    return f"{after['excess']:.3f}, refinetuned {back['excess']:.3f}; CA {after['accuracy']:.3f}, {back['accuracy']:.3f}; PA {after['under_trigger']:.3f}"


def table(found: list[dict]) -> str:
    """A row a way, a column a victim: excess after, after the refinetune test, accuracy."""
    if not found:
        return "Not measured yet."
    names = [one["entry"]["name"] for one in found]
    lines = [
        f"| way | {' | '.join(names)} | mean, after the refinetune test |",
        f"|---|{'---|' * len(names)}--:|",
    ]
    for way in ("nothing", *FORGETTING, *FOLLOWING):
        own = [one.get(way) for one in found]
        shown = [
            f"{c['after']['excess']:.3f}, {c['rebound']['excess']:.3f} (CA {c['after']['accuracy']:.3f})" if c else "–"
            for c in own
        ]
        back = [c["rebound"]["excess"] for c in own if c]
        label = way if way in ("nothing", *FORGETTING) else f"shipped, then {way}"
        lines.append(
            f"| {label} | {' | '.join(shown)} | {sum(back) / len(back):.3f} |"
            if back
            else f"| {label} | {' | '.join(shown)} | – |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
