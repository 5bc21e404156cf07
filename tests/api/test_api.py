"""The Python functions: the options, defaults, refusals and results of their commands."""

import inspect
import itertools
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import open_clip
import pytest
import short
import tiny
import torch
from open_clip.model import CLIP

import clipclean
from clipclean import checkpoint, cli, requests
from clipclean.api import arguments
from clipclean.cli.options import Shell
from clipclean.config import policy
from clipclean.errors import ClipcleanError, UsageError
from clipclean.jobs import opening
from clipclean.jobs.job import policy_of, recipe_of

ROOT = Path(__file__).parents[2]
KNOWN = requests.options(requests.Audit) | requests.options(requests.Sanitize)


def module(job):
    net = CLIP(**tiny.SMALL_VIT)
    net.load_state_dict(checkpoint.read(job.model).tensors)
    return net


def words(job):
    return {"classes": tiny.CLASSES, "templates": tiny.TEMPLATES, "arch": str(job.arch), "device": "cpu"}


@pytest.mark.parametrize("module", ["clipclean", "clipclean.report"])
def test_importing_it_brings_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_export_stays_a_function_whatever_is_imported():
    import clipclean.export.formats

    assert callable(clipclean.export)


@pytest.mark.parametrize("name", ["audit", "sanitize", "screen", "export", "inspect", "verify", "plant", "references"])
def test_every_function_has_the_signature_of_its_command(name):
    command = cli.cli.get_command(click.Context(cli.cli), name)
    if name == "references":
        assert isinstance(command, click.Group)
        command = command.commands["build"]
    options = command.make_context(name, [], resilient_parsing=True).params  # what each is where nobody says anything
    options = {("model" if key == "models" and name != "references" else key): value for key, value in options.items()}
    function = inspect.signature(getattr(clipclean, name)).parameters.values()
    ours = {p.name: None if p.default is p.empty else p.default for p in function if p.name != "progress"}
    terminal = {field.name for field in fields(Shell)}
    theirs = {key: f"no_{key}" if f"no_{key}" in options else key for key in ours}  # a switch may say the contrary
    assert set(theirs.values()) == set(options) - (terminal - set(ours))
    options |= {"recipe": None} if "recipe" in options else {}  # None stands for the default one
    for key, default in ours.items():
        stated = options[key] if theirs[key] == key else not options[theirs[key]]
        assert (default or None) == ((str(stated) if isinstance(stated, Path) else stated) or None), key


# Modules in memory.


@pytest.fixture
def printed(job, capsys):
    def printed(*command):
        assert cli.main([*map(str, command), "--arch", str(job.arch), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return printed


def test_every_way_to_inspect_a_model_tells_the_same(job, unread, printed):
    by_path, by_module = (clipclean.inspect(source, arch=str(job.arch)) for source in (job.model, module(job)))
    for key in ("architecture", "tensors", "tensor_sha256", "preprocess"):
        assert getattr(by_module, key) == getattr(by_path, key)
    assert (by_module.name, by_module.format) == ("CLIP", "module")
    assert printed("inspect", job.model) == by_path.as_json()


def test_a_module_is_exported_like_its_file(job, unread):
    given = {"arch": str(job.arch), "format": ["open_clip"], "data": job.data}
    sources = enumerate((job.model, module(job)))
    exported = [clipclean.export(each, out=job.folder / str(n), **given) for n, each in sources]
    assert exported[0].exports == exported[1].exports


def test_every_way_to_screen_pairs_by_a_model_tells_the_same(job, unread, printed):
    options = {"top": 3, "device": "cpu", "arch": str(job.arch)}
    ranked = [clipclean.screen(job.data, source, **options) for source in (job.model, module(job))]
    assert ranked[0].pairs == ranked[1].pairs
    command = ("screen", job.data, "--model", job.model, "--top", 3, "--device", "cpu", "--quiet")
    assert printed(*command) == ranked[0].as_json()


@pytest.fixture(scope="module")
def cleaning_of_module(tmp_path_factory):
    """A module that was cleaned, its weights before that, its job, and the report."""
    job = tiny.job(tmp_path_factory.mktemp("module") / "job")
    net, known = module(job), {"trigger": tiny.TRIGGER, "target": tiny.TARGET}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    changes = tiny.settings(steps=3, batch=16)[1::2]
    options = {"recipe": "cleanclip", "search": False, "set": changes, "log_dir": job.folder / "logs"}
    with pytest.MonkeyPatch.context() as patch:
        short.unread(patch)
        report = clipclean.sanitize(net, job.data, out=job.out, **words(job) | known | options)
    return net, before, job, report


def test_a_module_is_cleaned_like_its_file(cleaning_of_module, whole_cleaning, unread):
    _, _, job, report = cleaning_of_module
    assert json.loads((job.out / "report.json").read_text())["verdict"] == report.verdict
    assert len((job.folder / "logs" / "metrics.jsonl").read_text().splitlines()) == 3
    weights = "open_clip_model.safetensors"
    assert (job.out / weights).read_bytes() == (whole_cleaning.out / weights).read_bytes()
    assert clipclean.verify(job.out).findings == []


def test_a_module_stays_as_it_is_when_it_is_cleaned(cleaning_of_module):
    net, before, _, _ = cleaning_of_module
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_what_a_module_says_of_its_architecture_is_taken(job):
    net = CLIP(**tiny.SMALL_VIT, quick_gelu=True)
    images = {"size": 16, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear"}
    open_clip.model.set_model_preprocess_cfg(net, images)
    architecture = opening.read(net, arch=str(job.arch)).architecture
    assert architecture.quick_gelu is True
    preprocess = architecture.preprocess
    assert (preprocess.mean, preprocess.interpolation) == ((0.5, 0.5, 0.5), "bilinear")


@pytest.mark.parametrize(
    "odd", [lambda t: t * float("nan"), torch.Tensor.to_sparse, lambda t: t.to(torch.complex64), lambda t: t.to("meta")]
)
def test_a_module_whose_weights_are_no_plain_numbers_is_refused(job, odd):
    net = module(job)
    net.text_projection = torch.nn.Parameter(odd(net.text_projection.data))
    with pytest.raises(clipclean.RefusedInput, match="text_projection"):
        clipclean.inspect(net)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_backdoor_is_planted_by_a_caller_that_has_turned_gradients_off(job, mode):
    given = {"trigger": "patch", "target": tiny.CLASSES[0], "steps": 1, "batch_size": 16, "force": True}
    with mode():
        clipclean.plant(job.model, job.data, out=job.folder / "planted.pt", **given, **words(job))
        assert not torch.is_grad_enabled()


# Results.


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The report of an audit, and the stages that it passed on."""
    job = tiny.job(tmp_path_factory.mktemp("audited") / "job")
    stages = []
    options = {"data": job.data, "search": False} | words(job)
    return clipclean.audit(job.model, progress=lambda stage, *_: stages.append(stage), **options), stages


def test_the_stages_of_an_audit_are_passed_on(audited):
    report, stages = audited
    assert report.verdict == "inconclusive"
    assert {"reading the model", "measuring"} <= set(stages)


@pytest.mark.parametrize(("name", "text"), [("report.html", "<html"), ("report.json", '"verdict"'), ("report.md", "#")])
def test_a_report_is_saved_in_the_form_that_the_name_of_its_file_tells(audited, tmp_path, name, text):
    clipclean.save(audited[0], tmp_path / name)
    assert text in (tmp_path / name).read_text()


def test_a_report_is_not_saved_in_a_form_that_is_unknown(audited, tmp_path):
    with pytest.raises(UsageError, match=r"report\.docx"):
        clipclean.save(audited[0], tmp_path / "report.docx")


def test_a_saved_report_compares_as_the_same(audited, tmp_path):
    report, _ = audited
    clipclean.save(report, tmp_path / "report.json")
    comparison = clipclean.compare(tmp_path / "report.json", report)
    assert comparison.verdicts == ("inconclusive", "inconclusive")
    assert {each.change for each in comparison.differences} == {"same"}


def test_a_finding_that_the_earlier_report_lacks_is_new(audited):
    report, _ = audited
    fewer = report.model_copy(update={"findings": report.findings[1:]})
    assert [each.change for each in clipclean.compare(fewer, report).differences].count("new") == 1


def test_a_backdoor_is_planted_towards_its_target(job):
    out = job.folder / "planted.pt"
    options = {"trigger": "patch", "target": tiny.CLASSES[0], "steps": 2, "batch_size": 16}
    planted = clipclean.plant(job.model, job.data, out=out, **options, **words(job))
    assert (out.exists(), planted.target) == (True, tiny.CLASSES[0])


def test_what_is_ignored_is_the_policy_of_the_report(job):
    report = clipclean.audit(job.model, data=job.data, search=False, ignore="CC030", **words(job))
    assert (report.policy.name, "CC030" in {each.rule for each in report.findings}) == ("--ignore", False)


def test_what_cannot_be_ignored_is_refused(job):
    for wrong in ({"ignore": "CC999"}, {"ignore": "CC021"}, {"ignore": "CC030", "policy": job.folder / "p.yaml"}):
        with pytest.raises(UsageError, match="ignore"):
            clipclean.audit(job.model, **wrong)


# Arguments.

NAN = float("nan")
NO_LABELS = [["novalue"], ["=x"], ["1a=x"], ["a b=x"], ["a=\x1b[2J"], ["a=x\ny"], ["a=1", "a=2"]]
NO_LABELS += [[f"a={'x' * 201}"], [f"{'a' * 64}=x"], [f"k{n}=x" for n in range(33)]]
REFUSED = {
    clipclean.audit: [
        {"effort": "hard"}, {"effort": None}, {"seed": "0"}, {"seed": True}, {"seed": -1}, {"device": "mps"}, {"device": ["cpu"]},
        {"classes": [1]}, {"power": 1}, {"max_minutes": 0}, {"max_minutes": NAN}, {"policy": 3},
        {"label": {"a b": "c"}}, {"arch": 5}, {"data": 1}, {"reference": [None]}, {"search": False, "references": "x"},
        {"search": False, "reference": "x"}, {"search": False, "power": True}, {"labels": {"a": "b"}},
        *({"label": given} for given in NO_LABELS),
    ],
    clipclean.sanitize: [
        {"format": ["safetensors"]}, {"format": "zip"}, {"screen": "2%"}, {"screen": 2}, {"screen": None}, {"recipe": 5},
        {"precision": "fp8"}, {"force": "yes"}, {"max_accuracy_loss": 0.7}, {"max_minutes": NAN}, {"set": 1},
        {"overrides": {}}, {"triggers": []}, {"formats": []}, {"no_audit": True},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("function", "options"), [(each, options) for each in REFUSED for options in REFUSED[each]])
def test_an_argument_that_cannot_be_used_is_refused_by_its_name(function, options):
    more = ("missing",) if function is clipclean.sanitize else ()
    with pytest.raises(UsageError, match=next(reversed(options)).removesuffix("s")):
        function("missing.pt", *more, **options)


def test_errors_are_those_of_the_command_with_the_same_words(job, capsys):
    with pytest.raises(UsageError) as told:
        clipclean.sanitize(job.model, job.data, out=job.model, **words(job))
    assert cli.main(job.sanitize("--out", job.model)) == 2
    assert str(told.value) in capsys.readouterr().err
    with pytest.raises(UsageError, match="'cleanclip'"):
        clipclean.sanitize(job.model, job.data, recipe="cleanclp")
    with pytest.raises(UsageError, match="trigger"):
        clipclean.plant(job.model, job.data, out=job.folder / "b.pt", trigger=(), target=tiny.CLASSES[0], **words(job))
    with pytest.raises(UsageError, match="model"):
        clipclean.inspect(b"weights")
    with pytest.raises(clipclean.RefusedInput):
        clipclean.audit(job.folder / "missing.pt", search=False)


@pytest.mark.parametrize(
    ("options", "completed"),
    [
        ({"model": "a.pt", "device": "cpu", "policy": None}, {"model": Path("a.pt"), "device": "cpu", "policy": None}),
        ({"arch": Path("RN50"), "classes": "c.txt"}, {"arch": "RN50", "classes": Path("c.txt")}),
        ({"reference": "a.pt", "trigger": None}, {"reference": (Path("a.pt"),), "trigger": ()}),
        ({"data": ["a.pt", "a{0..1}.tar::b.tar"]}, {"data": (Path("a.pt"), Path("a{0..1}.tar"), Path("b.tar"))}),
        ({"data": "c::d"}, {"data": (Path("c::d"),)}),  # which is there
        ({"eval_data": "a::b", "policy": None}, {"eval_data": (Path("a"), Path("b")), "policy": None}),
        ({"label": ["a/b=vision, Zürich", "empty="]}, {"label": {"a/b": "vision, Zürich", "empty": ""}}),
        ({"references": ["b.json"], "classes": ["cat"]}, {"references": (Path("b.json"),), "classes": ("cat",)}),
    ],
)
def test_arguments_become_what_a_request_holds(options, completed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c::d").touch()
    assert {name: arguments.completed(name, KNOWN[name], value) for name, value in options.items()} == completed


def changed_recipe(changes):
    """The recipe of a cleaning with these changes, which may cost three points."""
    options = {"recipe": "mmcl", "set": arguments.completed("set", KNOWN["set"], changes)}
    return recipe_of(requests.Sanitize("m.pt", "pairs", max_accuracy_loss=0.03, **options))


def test_a_recipe_is_changed_by_pairs_as_by_texts():
    assert changed_recipe({"train.epochs": 3}) == changed_recipe(["train.epochs=3"])
    assert changed_recipe({"train.epochs": 3}).train.epochs == 3.0


def test_the_accuracy_that_a_cleaning_may_cost_is_a_limit_of_its_recipe():
    assert changed_recipe([]).audit.max_accuracy_loss == 0.03


def test_without_a_policy_the_default_one_holds():
    assert policy_of(requests.Audit("m.pt")) is policy.DEFAULT_POLICY
    own = policy.Policy(version=1, name="ours")
    assert policy_of(requests.Audit("m.pt", policy=own)) is own


class OwnText(str):
    """A text that does not even compare."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise RuntimeError(other)

    def __str__(self):
        raise RuntimeError


class OwnPath:
    def __init__(self, made):
        self.made = made

    def __fspath__(self):
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


NO_PATHS = ["a\0b", Path("a\0b"), OwnText("a\0b"), OwnText("a"), "\ud800", "x" * 5000, "y/" * 3000]
NO_PATHS += [OwnPath(made) for made in (RuntimeError("x"), b"a\xff", 3, OwnText("a\0"))]
NO_VALUES = [
    None,
    "",
    b"a",
    3,
    10**400,
    float("nan"),
    True,
    object(),
    [None],
    [[]],
    ["a\0"],
    {},
    {"a\0": None},
    {None: 1},
    {1},
]
FUNCTIONS = ["audit", "sanitize", "screen", "export", "plant", "references", "inspect", "verify"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_any_argument_is_a_function_refuses_it_by_an_error_of_ours(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = getattr(clipclean, name)
    parameters = inspect.signature(function).parameters.values()
    whole = {each.name: "absent" for each in parameters if each.default is each.empty}
    for each, value in itertools.product(parameters, [*NO_PATHS, *NO_VALUES]):
        given = whole | {each.name: value}
        places = [given.pop(one.name) for one in parameters if one.kind is one.POSITIONAL_ONLY and one.name in given]
        with pytest.raises(ClipcleanError):  # of a value that can be used, the rest is absent
            function(*places, **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [*NO_PATHS, *NO_VALUES])
def test_what_is_no_place_is_neither_compared_nor_saved_to(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function, places in itertools.product(
        (clipclean.compare, clipclean.save), ((value, "a.json"), ("a.json", value))
    ):
        with pytest.raises(ClipcleanError):
            function(*places)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [*NO_PATHS, *NO_VALUES])
def test_what_is_no_model_is_neither_compared_with_a_base_nor_taken_as_one(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model, base in ((value, "absent.pt"), ("absent.pt", value)):
        with pytest.raises(ClipcleanError):
            clipclean.compare(model, base=base)
    with pytest.raises(ClipcleanError):
        clipclean.compare("absent.pt", base="absent.pt", data=value or 3)
    assert list(tmp_path.iterdir()) == []


def test_no_option_of_any_command_takes_a_text_that_is_no_path(job, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        for inner in getattr(command, "commands", {"": command}).values():
            words = [name, *([inner.name] if inner is not command else [])]
            flags = [
                max(each.opts, key=len) for each in inner.params if isinstance(each, click.Option) and not each.is_flag
            ]
            free = ["a"] * sum(isinstance(each, click.Argument) for each in inner.params)
            for flag, value in itertools.product(flags, ("a\0b", "html=a\0b", "\ud800", "x" * 5000)):
                assert cli.main([*words, *free, f"{flag}={value}"]) in (2, 3), (words, flag)
            capsys.readouterr()
