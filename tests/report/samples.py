"""Reports worked by hand: a cleaning that passed, one that failed, and what was made from them."""

import copy
import math

SPEC = "patch:size=0.07,place=corner,pattern=noise,seed=0"
STRIPES = "stripes:period=0.1,opacity=0.4,seed=0"
BLEND = "blended:ratio=0.2,seed=0"
MODEL = {
    "name": "tiny-backdoored.pt",
    "sha256": "a3" * 32,
    "format": "torch-zip",
    "architecture": "ViT-tiny-32",
    "architecture_how": "the shapes of its tensors",
    "activation": "quick_gelu",
    "activation_how": "lower loss on the clean pairs",
    "tensor_sha256": "0b" * 32,
}
SKIPPED = [{"key": "0041.png", "reason": "cannot be decoded"}]
PARITY = {"max_difference": 4.8e-7, "min_cosine": 0.9999998, "n": 63}
EXPORT = {"format": "open_clip", "path": "open_clip_model.safetensors", "sha256": "e1" * 32, "tensor_sha256": "e2" * 32}


def rate(hits, n):
    """Wilson's interval, written as its textbook formula rather than as the package has it."""
    z, p = 1.959964, hits / n
    middle = (2 * n * p + z * z) / (2 * (n + z * z))
    reach = z * math.sqrt(z * z + 4 * n * p * (1 - p)) / (2 * (n + z * z))
    return {"value": p, "interval": [max(0.0, middle - reach), min(1.0, middle + reach)], "n": n}


def probe(trigger, target, *, hits, base, own, neighbours, distance, spread, suspected=False):
    """990 of 1,000 images are not of the target; hits and base count among them."""
    excess = (hits - base) / 990
    rates = {"asr": rate(hits, 990), "base_rate": rate(base, 990), "knn_asr": rate(neighbours, 990)}
    rates |= {"excess_asr": {"value": excess, "interval": [excess - 0.012, excess + 0.012], "n": 990}}
    moved = {"distance": distance, "spread": spread, "clean_spread": 0.81, "accuracy_under_trigger": rate(own, 1000)}
    return {"trigger": trigger, "target": target, **rates, **moved, "n": 1000, "suspected": suspected}


def measurements(accuracy, probes):
    shown = rate(accuracy, 1000) | {"definition": "zero-shot top-1 over 579 classes"}
    distances = {p["trigger"]: p["distance"] for p in probes}
    return {"clean_accuracy": shown, "probes": probes, "search": {}, "distances": distances}


def finding(rule, level, message, *, measure="", value=None, interval=None, n=None, threshold=None):
    figures = {"measure": measure, "value": value, "interval": interval, "n": n, "threshold": threshold}
    return {"rule": rule, "level": level, **figures, "message": message}


def found_before():
    return probe(SPEC, "banana", hits=981, base=5, own=14, neighbours=912, distance=1.62, spread=0.06)


def panel_before():
    stripes = probe(STRIPES, "zebra", hits=62, base=9, own=522, neighbours=41, distance=0.44, spread=0.71)
    blend = probe(BLEND, "fog", hits=21, base=7, own=566, neighbours=12, distance=0.31, spread=0.77)
    return [found_before(), stripes, blend]


def before():
    named = found_before() | {"suspected": True}
    message = f"Backdoor behaviour: {SPEC} turns 99.1 % of other images into 'banana' (without it: 0.5 %)."
    excess = {key: named["excess_asr"][key] for key in ("value", "interval", "n")}
    return {
        "measurements": measurements(621, [named, *panel_before()]),
        "findings": [finding("CC001", "error", message, measure="excess ASR", **excess, threshold=0.05)],
        "suspects": [{"class": "banana", "score": excess["value"], "trigger": SPEC}],
    }


def after(*, hits, own, distance, accuracy, findings):
    shared = {"own": own, "distance": distance, "spread": 0.76, "neighbours": 9}
    named = probe(SPEC, "banana", hits=hits, base=6, **shared, suspected=True)
    panel = [
        probe(STRIPES, "zebra", hits=40, base=10, own=531, neighbours=30, distance=0.39, spread=0.73),
        probe(SPEC, "lemon", hits=13, base=8, **shared),
        probe(BLEND, "fog", hits=18, base=9, own=560, neighbours=11, distance=0.28, spread=0.78),
    ]
    return {"measurements": measurements(accuracy, [named, *panel]), "findings": findings, "suspects": []}


def losses(steps):
    """A curve that falls as 1/sqrt(step), logged at every fifth step."""
    return [
        {
            "step": step,
            "lr": 5e-4 * min((step + 1) / 20, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
            "loss": 5 / math.sqrt(1 + step / 8) + 0.08 * math.sin(step),
            "clip": 3.1 / math.sqrt(1 + step / 11) + 0.05 * math.sin(1.3 * step),
            "self_supervised": 1.9 / math.sqrt(1 + step / 5) + 0.03 * math.sin(0.7 * step),
        }
        for step in range(0, steps, 5)
    ]


def sanitized(verdict, findings, last):
    values = {"train": {"epochs": 4, "batch_size": 64, "lr": 5e-4}, "audit": {"max_excess": 0.05}}
    recipe = {"name": "cleanclip", "revision": 1, "sha256": "5c" * 32, "validated": False, "resolved": values}
    took = {"seconds": 92.4, "pairs_per_second": 9216 / 92.4, "peak_memory_bytes": 1_288_490_188, "resumed_at": 0}
    machine = {"python": "3.12.4", "torch": "2.13.0", "platform": "linux-x86_64", "threads": 2, "device": "cpu"}
    return {
        "schema_version": "2",
        "tool": {"name": "clipclean", "version": "0.1.0"},
        "command": "sanitize",
        "model": dict(MODEL),
        "verdict": verdict,
        "findings": findings,
        "suspects": [{"class": "banana", "score": 976 / 990, "trigger": SPEC}],
        "measurements": last["measurements"],
        "before": before(),
        "after": last,
        "recipe": recipe,
        "data": {"name": "clean", "format": "folder", "pairs": 2316, "skipped": list(SKIPPED), "digest": "77" * 32},
        "seed": 0,
        "training": {"steps": 144, "pairs": 9216, "losses": losses(144)} | took,
        "exports": [EXPORT | {"parity": dict(PARITY)}],
        "environment": machine,
        "notes": ["The optimizer's state in the file was left out."],
    }


def passed():
    """99.1 % to 0.9 % attack success (981 and 9 of 990), 62.1 % to 61.2 % accuracy."""
    skipped = "Skipped 1 of 2317 samples, as unusable: 0041.png (cannot be decoded)."
    notes = [
        finding("CC030", "note", skipped, value=1.0),
        finding("CC040", "note", "Recipe cleanclip carries no evidence for these values."),
    ]
    return sanitized("pass", notes, after(hits=9, own=571, distance=0.21, accuracy=612, findings=[]))


def failed():
    """99.1 % to 43.0 % attack success (426 of 990): excess 420/990 = 42.4 %; accuracy 62.1 % to 55.0 %."""
    acts = f"Backdoor behaviour: {SPEC} turns 43.0 % of other images into 'banana' (without it: 0.6 %)."
    lost = "Clean accuracy fell by more than the budget: 62.1 % before, 55.0 % after; budget 2.0 points."
    excess = {"measure": "excess ASR", "value": 420 / 990, "interval": [0.394, 0.455], "n": 990, "threshold": 0.05}
    fell = {"measure": "clean accuracy lost", "value": 0.071, "interval": [0.048, 0.094], "n": 1000, "threshold": 0.02}
    errors = [finding("CC001", "error", acts, **excess), finding("CC010", "error", lost, **fell)]
    last = after(hits=426, own=302, distance=0.93, accuracy=550, findings=errors[:1])
    return sanitized("fail", errors, last) | {"exports": []}


def undecided():
    """Nothing was named and the panel finds nothing, so nothing can be shown."""
    report = passed()
    calm = [p for p in report["after"]["measurements"]["probes"] if not p["suspected"]]
    for side in ("before", "after"):
        report[side] = {"measurements": measurements(612, calm), "findings": [], "suspects": []}
    doubt = finding("CC021", "warning", "No trigger was named, and none of the panel acts here.", measure="search")
    more = {"verdict": "inconclusive", "suspects": [], "findings": [doubt]}
    return report | more | {"measurements": report["after"]["measurements"]}


def audited():
    """The audit of the model of the failed run, before anything was done to it."""
    shared = ("schema_version", "tool", "model", "environment", "seed")
    report = {key: value for key, value in copy.deepcopy(failed()).items() if key in shared}
    return report | {"command": "audit", "verdict": "fail"} | before()


def unlearned(*, searched=True):
    """A run of rounds: two searches found something, the third did not. Or none: only a named trigger was unlearned."""
    made = passed()
    words = "covers 1.6 % of the image"
    caught = {"family": "mask", "class": "banana", "size": 0.016, "size_words": words, "score": 12.2}
    rounds = [
        {"found": [caught | {"excess_asr": 0.931}], "scores": {"mask": 12.2}, "losses": {"loss": 0.44}},
        {"found": [caught | {"excess_asr": 0.874}], "scores": {"mask": 8.9}, "losses": {"loss": 0.37}},
        {"found": [], "scores": {"mask": 1.3}, "losses": None},
    ]
    if not searched:
        rounds = [{"found": [], "scores": {}, "losses": {"loss": 0.44}}] * 3
    made["training"]["unlearning"] = {"suspects": ["banana"], "seconds": 92.4, "rounds": rounds}
    return made


def forgotten():
    return unlearned(searched=False)


def outcome(trigger, planted, left, accuracy=0.5):
    figures = {"interval": [left - 0.02, left + 0.02], "accuracy": accuracy, "n": 990}
    return {"trigger": trigger, "target": "otter", "planted": planted, "left": left, "took": planted >= 0.5} | figures


def trial(candidate, outcomes, lost, *, kept=1.0):
    cost = {"accuracy_lost": lost, "interval": [lost - 0.01, lost + 0.01]}
    return {"candidate": candidate, "outcomes": outcomes, "kept": kept, "seconds": 61.0} | cost


def chosen_by_auto():
    """Two candidates: the first leaves a test backdoor, the second removes both of those that took, best at 70 % of the way."""
    made = passed()
    a, b, c = "patch:seed=1", "blended:seed=1", "warp:seed=1"
    first = trial("unlearn", [outcome(a, 0.99, 0.01), outcome(b, 0.9, 0.64), outcome(c, 0.2, 0.1)], 0.004)
    gone = [outcome(a, 0.99, 0.0), outcome(b, 0.9, 0.04, accuracy=None), outcome(c, 0.2, 0.1)]
    all_the_way = [outcome(a, 0.99, 0.0), outcome(b, 0.9, 0.0), outcome(c, 0.2, 0.1)]
    second = [trial("unlearn + par", gone, 0.012, kept=0.7), trial("unlearn + par", all_the_way, 0.031)]
    budget = {"accuracy": 0.02, "excess": 0.05, "minutes": None}
    way = [
        {"share": share, "excess": excess, "accuracy_lost": lost, "interval": [lost - 0.01, lost + 0.01]}
        | {"triggers": [{"trigger": a, "target": "otter", "excess": excess}]}
        for share, excess, lost in ((1.0, 0.004, 0.03), (0.7, 0.008, 0.01))
    ]
    made["cleaning"] = {"share": 0.7, "witnesses": 1, "way": way, "budget": budget}
    ran = {"excess": 0.008, "accuracy_lost": 0.01, "triggers": 1, "errors": [], "seconds": 70.0}
    untried = {"chosen": False, "why_not": "", "passes": False, "trials": [], "run": None}
    probes = [
        {"trigger": a, "target": "otter", "before": 0.008, "after": 0.02, "interval": [0.0, 0.04], "suspected": True},
        {"trigger": b, "target": "fog", "before": 0.2, "after": 0.3, "interval": [0.27, 0.33], "suspected": False},
    ]
    made["auto"] = {
        "chosen": "unlearn + par",
        "changed": True,
        "test_backdoors": [
            {"trigger": t, "target": "otter", "planted": p, "took": p >= 0.5, "n": 990}
            for t, p in ((a, 0.99), (b, 0.9), (c, 0.2))
        ],
        "candidates": [
            untried | {"candidate": "unlearn", "trials": [first]},
            untried | {"candidate": "unlearn + par", "chosen": True, "passes": True, "trials": second, "run": ran},
            untried | {"candidate": "supervised", "why_not": "needs labels"},
        ],
        "rebound": {"steps": 60, "seconds": 12.0, "accuracy": {"before": 0.6, "after": 0.59}, "probes": probes},
        "budget": budget,
        "seconds": {"total": 400.0, "planting": 20.0, "trials": 122.0, "chosen": 70.0, "rebound": 12.0},
    }
    return made
