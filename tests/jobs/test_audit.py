import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import short
import tiny
import torch
from detect import towers
from report import searches

from clipclean import deadline, detect, model, requests
from clipclean.attack import power, triggers
from clipclean.config import policy, thresholds
from clipclean.config.effort import EFFORTS, Effort
from clipclean.detect import KnownTriggers
from clipclean.errors import Inconclusive, UnsupportedModel, UsageError
from clipclean.jobs import build_references, clean_models, finetune_base, judging, opening, results, searching
from clipclean.progress import Listener, heard
from clipclean.report import PageImages, example_images
from clipclean.schema.report import PlantedRecord

HUNT = sys.modules["clipclean.detect.search"]
LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
IMAGES, ASKED = 60, requests.Audit("model.pt")
SETTINGS = searching.SearchSettings("quick", seed=0)


TOY = model.Architecture("toy", {}, model.Preprocess(towers.SIDE), "for tests", False, "for tests")


class Toy:
    """What ``audit`` needs of a CLIP, around an image tower of the tests."""

    def __init__(self, tower, half=None):
        self.half = half or tower
        self.encode_images, self.net, self.device = tower, torch.nn.Linear(1, 1), torch.device("cpu")
        self.architecture = TOY

    @torch.no_grad()
    def embed_images(self, pixels):
        return self.encode_images(pixels)

    def halved(self, _precision):
        return self.half

    def kernels(self):
        return torch.zeros(2, 3, 4, 4)

    def clip_normalised(self):
        return None

    def embed_texts(self, captions):
        return towers.CLASSIFIER[[towers.CLASSES.index(caption) for caption in captions]]

    def logit_scale(self):
        return torch.tensor(towers.SCALE)


def evidence(pixels=None, **changes):
    known = KnownTriggers((triggers.parse("patch:size=0.1,place=corner,seed=1"),))
    shown = towers.eval_set(towers.images(IMAGES) if pixels is None else pixels, **{"triggers": known} | changes)
    return replace(shown, vocabulary=replace(shown.vocabulary, templates=("{}",)))


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Two families and a short class list: what fits the toy towers."""
    brief = Effort(restarts=1, steps=60, free_images=12, images=8, suspects=2, controls=6, collapse=0.8, success=0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HUNT, "SEARCH_FAMILIES", {name: detect.SEARCH_FAMILIES[name] for name in ("mask", "patch")})
        patch.setitem(EFFORTS, "quick", brief)
        yield


def looked(tower, references=None, **changes):
    return searching.audit_clip(replace(SETTINGS, **changes), Toy(tower), evidence(), references)


def clean(toy, shown):
    loaded = SimpleNamespace(source=SimpleNamespace(name="trusted.pt"), clip=toy)
    return clean_models.measured_references(SETTINGS, loaded, shown, state=None)


@pytest.fixture(scope="module")
def references():
    return clean(Toy(towers.honest()), evidence())


@pytest.fixture(scope="module")
def bad(references):
    return looked(towers.backdoored(towers.spot), references)


def word(seen, images=IMAGES):
    return policy.verdict(detect.audit_findings(seen, LIMITS, images=images))


def test_a_reference_is_recorded_by_the_name_of_its_file(references):
    assert (references.kind, references.name, references.models) == ("reference", "trusted.pt", 1)


def test_a_planted_model_fails_with_its_class(bad):
    assert word(bad) == "fail"
    (only,) = [f for f in detect.audit_findings(bad, LIMITS, images=IMAGES) if f.level == "error"]
    assert (only.rule, only.target, only.trigger) == ("CC003", "fox", bad.search.targeted[0].trigger.spec)


def test_without_a_model_to_compare_with_nothing_passes():
    audit = looked(towers.honest())
    assert audit.why_not is None
    findings = detect.audit_findings(audit, LIMITS, images=IMAGES)
    assert "CC004" in {each.rule for each in findings}
    assert policy.verdict(findings) != "pass"


def test_on_too_few_images_a_planted_model_is_inconclusive(bad):
    findings = detect.audit_findings(bad, LIMITS, images=LIMITS.min_images - 1)
    assert {"CC020", "CC003"} <= {each.rule for each in findings}
    assert policy.verdict(findings) == "inconclusive"


def base_of(tower):
    """A base with this image tower, whose weights are near."""
    kin = detect.finetune_base.Kinship(weights=1.0, change=0.1, leading=0.5, layers=(), images=1.0)
    toy = Toy(tower)
    return finetune_base.LoadedBase("base.pt", toy, kin, None, toy, None)


@pytest.mark.parametrize(
    ("base", "counts"), [(towers.honest(), True), (towers.backdoored(towers.spot), False)], ids=["clean", "alike"]
)
def test_a_found_trigger_counts_only_if_the_base_is_not_turned_by_it(bad, base, counts):
    def is_enough(result):
        return detect.is_failing(result, limits=LIMITS)

    toy = Toy(towers.backdoored(towers.spot))
    assert is_enough(bad.search)
    assert base_of(base).enough_beside_base(is_enough, toy, evidence())(bad.search) is counts
    assert is_enough(base_of(base).with_comparison(toy, evidence(), bad).search) is counts


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_model_without_a_backdoor_does_not_fail(references, seed):
    assert word(looked(towers.honest(seed), references, seed=3)) != "fail"


@pytest.mark.slow
def test_the_model_itself_in_other_weights_does_not_count_as_a_reference():
    """A rotation of the joint space, and another logit scale: other weights, the same answers."""
    patches = tuple(triggers.parse(f"patch:size={0.1 * n},place=corner,seed={n}") for n in range(3, 10))
    known = evidence(
        triggers=KnownTriggers((*patches, *(triggers.parse(f"blended:ratio=0.5,seed={n}") for n in range(8))))
    )
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    tower = towers.backdoored(towers.spot)
    turned = Toy(lambda images: tower(images) @ turn)
    turned.embed_texts = lambda captions, own=turned.embed_texts: own(captions) @ turn

    def judged(*several):
        references = detect.merged_references([clean(toy, known) for toy in several])
        audit = searching.audit_clip(SETTINGS, Toy(tower), known, references)
        return audit.search.twins, detect.audit_findings(audit, LIMITS, images=IMAGES)

    twins, findings = judged(turned)
    assert (twins, policy.verdict(findings), "CC004" in {each.rule for each in findings}) == (1, "fail", True)
    twins, findings = judged(turned, Toy(towers.honest(1)))
    assert (twins, policy.verdict(findings)) == (1, "fail")


def test_the_output_of_a_cleaning_that_failed_is_no_reference(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(searches.backdoored() | {"verdict": "fail"}))
    with pytest.raises(UsageError):
        clean_models.refuse_failed(tmp_path)
    clean_models.refuse_failed(tmp_path / "another.pt")  # an audit's report beside a file may be of any model
    (tmp_path / "report.json").write_text("{}")
    clean_models.refuse_failed(tmp_path)


def test_only_enough_power_stands_in_for_clean_models_to_compare_with():
    found = [detect.unproven("CC004", "Nothing to compare with.")]
    figures = {"class": "fox", "excess_asr": 0.9, "took": True, "seconds": 1.0}
    planted = (PlantedRecord(trigger="patch", level=level, **figures) for level in ("error", None))
    strong, weak = (power.record([each] * 4) for each in planted)
    few = [*found, detect.unproven("CC020", "Few.")]
    open_ = [(found, None), (found, weak), (few, strong), ([], weak)]  # the last beside clean models, too
    verdicts = [policy.verdict(judging.with_power(*each)) for each in (*open_, (found, strong))]
    assert verdicts == ["inconclusive"] * 4 + ["pass"]


def acting_in_half():
    """A known trigger, and a model that it turns in half precision alone."""
    (trigger,) = evidence().plan.triggers.panel
    (pattern,) = trigger(torch.zeros(1, 3, towers.SIDE, towers.SIDE))

    def felt(images):
        return 1 - 4 * (images - pattern)[..., -2:, -2:].abs().mean((1, 2, 3))

    return trigger, Toy(towers.honest(), towers.backdoored(felt))


def naming(trigger):
    return evidence().under([detect.Suspicion(trigger, None)])


def test_a_trigger_that_acts_in_half_precision_alone_is_told_for_each_such_format():
    trigger, toy = acting_in_half()
    audit = searching.audit_clip(SETTINGS, toy, evidence(), None)
    departures = [each for each in detect.audit_findings(audit, LIMITS, images=IMAGES) if each.rule == "CC027"]
    assert [(each.trigger, each.target) for each in departures] == [(trigger.spec, "fox")] * 2  # bfloat16 and float16


def test_a_named_trigger_that_acts_in_half_precision_alone_fails_the_model():
    trigger, toy = acting_in_half()
    assert word(searching.audit_clip(SETTINGS, toy, naming(trigger), None)) == "fail"


def test_a_model_that_answers_alike_in_half_precision_departs_nowhere():
    trigger, _ = acting_in_half()
    assert searching.audit_clip(SETTINGS, Toy(towers.honest()), naming(trigger), None).departures == ()


def black():
    """Images of which none differs from another: no search can be made on them."""
    return evidence(torch.zeros(20, 3, towers.SIDE, towers.SIDE))


def test_a_search_that_was_left_out_says_why():
    skipped = looked(towers.honest(), search=False)
    assert (skipped.search, skipped.why_not[0]) == (None, "CC021")
    assert word(skipped) == "inconclusive"


def test_a_search_that_could_not_be_made_says_why():
    unsearched = searching.audit_clip(SETTINGS, Toy(towers.honest()), black(), None)
    assert (unsearched.search, unsearched.why_not[0]) == (None, "CC005")
    assert word(unsearched) == "inconclusive"


def test_an_audit_leaves_the_model_as_it_was():
    toy = Toy(towers.honest())
    toy.net.train()
    searching.audit_clip(SETTINGS, toy, black(), None)
    assert toy.net.training
    assert all(parameter.requires_grad for parameter in toy.net.parameters())


def test_a_reference_that_cannot_be_searched_is_refused_by_name():
    broken = Toy(lambda images: towers.CLASSIFIER[0].expand(len(images), -1) + 0 * images.mean())
    with pytest.raises(Inconclusive, match=r"trusted\.pt"):
        clean(broken, evidence())


def test_a_search_that_its_deadline_ends_names_its_leading_class(monkeypatch, references):
    def step(what, done, _total):
        if (what, done) == ("searching", 3):  # of four steps: the second family is done
            short.an_hour_passes(monkeypatch)

    monkeypatch.setattr(
        HUNT, "SEARCH_FAMILIES", {name: detect.SEARCH_FAMILIES[name] for name in ("mask", "patch", "blend")}
    )
    with deadline.within(60), heard(Listener(steps=step)):
        cut = searching.audit_both(SETTINGS, Toy(towers.backdoored(towers.spot)), evidence(), references)
    assert cut.search.cut == (3, 4)
    (leader, *_) = detect.all_suspects(cut.search, LIMITS)
    (late,) = [each for each in detect.audit_findings(cut, LIMITS, images=IMAGES) if each.rule == "CC024"]
    assert (leader.name, f"'fox' {leader.score:.1f}" in late.message) == ("fox", True)
    assert word(cut) != "pass"


# Bad input: it is said, and nothing passes for it.


def finetuned(tower):
    """The same tower, a little moved."""
    turn = torch.eye(8) + 0.05 * torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return lambda images: torch.nn.functional.normalize(tower(images) @ turn, dim=-1)


def of_class(place, count=IMAGES):
    """Images that the honest tower takes for one class, with it as their label."""
    shown = towers.images(50 * count)
    answers = (towers.honest()(shown) @ towers.CLASSIFIER.T).argmax(1)
    return evidence(shown[answers == place][:count], labels=torch.full((count,), place))


@pytest.mark.parametrize("other", [finetuned(towers.backdoored(towers.spot)), towers.backdoored(towers.spot, seed=1)])
def test_a_backdoored_reference_hides_no_planted_class(other):
    audit = looked(towers.backdoored(towers.spot), clean(Toy(other), evidence()))
    named = {each.target for each in detect.audit_findings(audit, LIMITS, images=IMAGES) if each.rule == "CC003"}
    assert (word(audit) != "pass", "fox" in named) == (True, True)


@pytest.mark.parametrize("tower", [towers.honest(), towers.backdoored(towers.spot)])
def test_of_ten_images_nothing_passes(tower):
    few = evidence(towers.images(10))
    seen = searching.audit_clip(SETTINGS, Toy(tower), few, clean(Toy(towers.honest(1)), few))
    assert "CC020" in {each.rule for each in detect.audit_findings(seen, LIMITS, images=10)}
    assert word(seen, 10) != "pass"


@pytest.mark.parametrize("is_labelled", [True, False])
def test_of_images_of_the_target_alone_which_hide_its_backdoor_nothing_passes(is_labelled):
    shown = of_class(towers.TARGET)
    shown = shown if is_labelled else replace(shown, images=replace(shown.images, labels=None))
    seen = searching.audit_clip(
        SETTINGS, Toy(towers.backdoored(towers.spot)), shown, clean(Toy(towers.honest()), shown)
    )
    assert "CC020" in {each.rule for each in detect.audit_findings(seen, LIMITS, images=IMAGES)}
    assert word(seen) != "pass"


@pytest.fixture(scope="module")
def pictures(bad):
    """Maps and images under the trigger that was found."""
    toy, labels = Toy(towers.backdoored(towers.spot)), torch.arange(IMAGES) % len(towers.CLASSES)
    return results.pictures_of_search(toy, evidence(labels=labels), bad, seed=0)


def test_the_map_has_a_point_for_each_image(pictures, bad):
    projection, used = pictures[0]["projection"], min(IMAGES, example_images.MAPPED_IMAGES)
    kinds = [point.kind for point in projection.points]
    assert (kinds.count("clean") + kinds.count("target"), kinds.count("triggered")) == (used, used)
    assert kinds.count("target") > 0
    assert projection.trigger == bad.search.targeted[0].trigger.spec


def test_the_example_images_have_the_answers_under_the_found_trigger(pictures):
    _, images = pictures
    assert (len(images.found_triggers), len(images.grids)) == (2, example_images.EXAMPLES)
    triggered = [grid.rows[1].cells[0].answers[0].name for grid in images.grids]
    assert triggered == ["fox"] * example_images.EXAMPLES


def test_a_search_that_found_nothing_has_no_pictures(bad):
    toy, nothing = Toy(towers.honest()), replace(bad, search=replace(bad.search, targeted=()))
    assert results.pictures_of_search(toy, evidence().under([]), nothing, seed=0) == ({}, PageImages())


def test_the_section_on_the_search_names_the_files_of_its_triggers(bad):
    spec = bad.search.targeted[0].trigger.spec
    section = bad.search_record("quick", {spec: "01.safetensors"}).as_json()
    assert json.loads(json.dumps(section, allow_nan=False)) == section
    assert [entry["file"] for entry in section["found"]] == ["01.safetensors", *[None] * (len(section["found"]) - 1)]


def test_the_section_on_the_search_names_what_it_was_compared_with(bad):
    calibration = bad.search_record("quick", {}).as_json()["calibration"]
    assert calibration == {"kind": "reference", "name": "trusted.pt", "models": 1}
    alone = replace(bad, search=replace(bad.search, references=None))
    assert alone.search_record("quick", {}).calibration.kind == "none"


def test_beside_another_normalisation_of_pixels_the_usual_one_is_tried():
    """A configuration travels with the weights: whoever ignores it has CLIP's own mean and deviation."""
    weights = tiny.state_dict(tiny.SMALL_VIT)
    told = model.resolve(weights, arch=None, config=tiny.SMALL_VIT, script_quick_gelu=False)
    clip = model.build(told.with_activation(False, "told"), weights, device="cpu")
    assert clip.clip_normalised() is None
    other = replace(clip.architecture, preprocess=replace(clip.architecture.preprocess, std=(1.0, 1.0, 1.0)))
    tried = model.Clip(clip.net, other, clip.device).clip_normalised().architecture.preprocess
    assert (tried.mean, tried.std) == (model.OPENAI_MEAN, model.OPENAI_STD)


# The kind of a model, and the model that it is compared with.


def test_a_reference_is_another_model_of_the_same_kind(tmp_path):
    deeper = tiny.SMALL_VIT | {"vision_cfg": tiny.SMALL_VIT["vision_cfg"] | {"layers": 2}}
    made = dict.fromkeys(("model", "copy", "sound"), tiny.SMALL_VIT) | {"large": tiny.TINY_VIT, "deeper": deeper}
    for name, config in made.items():
        torch.save({"state_dict": tiny.state_dict(config, seed=int(name == "sound"))}, tmp_path / f"{name}.pt")
        tiny.written(tmp_path / f"{name}.json", json.dumps(config | {"quick_gelu": False}))

    def read(name):
        return clean_models.read_reference(tmp_path / f"{name}.pt", tested, arch=str(tmp_path / f"{name}.json"))

    tested = opening.read(tmp_path / "model.pt", arch=str(tmp_path / "model.json"))
    assert read("sound").architecture.config == tested.architecture.config
    for name in ("copy", "large", "deeper"):
        with pytest.raises(UsageError, match=f"{name}.pt"):
            read(name)
    # Of an architecture that was told for the tested model; what its tensors are is told with it.
    with pytest.raises(
        UnsupportedModel, match=r"large\.pt: .*do not fit model.*By their shapes they are .*leave --arch out"
    ):
        clean_models.read_reference(tmp_path / "large.pt", tested, arch=str(tmp_path / "model.json"))
    with pytest.raises(UsageError, match="--out"):  # a folder, told before anything is searched
        build_references.build_references(requests.References((tmp_path / "model.pt",), out=tmp_path))
