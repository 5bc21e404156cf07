import inspect
import json
import subprocess
import sys
from pathlib import Path

import click
import open_clip
import pytest
import tiny
import torch
from open_clip.model import CLIP

import clipclean
from clipclean import checkpoint, cli
from clipclean.errors import UsageError

ROOT = Path(__file__).parents[2]
SHORT = {
    "train.max_steps": 2,
    "train.batch_size": 16,
    "train.warmup_steps": 1,
    "train.epochs": 100,
    "data.min_pairs": 16,
}
RENAMED = {"search": "no_search", "panel": "no_panel"}  # switches that a Python caller gives the other way round
OF_THE_TERMINAL = {
    "baseline",
    "fail_on",
    "dry_run",
    "outputs",
    "report_dir",
    "as_json",
    "exit_zero",
    "quiet",
    "verbose",
    "workers",
    "epochs",
    "lr",
    "batch_size",
}
PLANTS = {"lr", "batch_size"}  # values of a recipe are set by ``set`` in Python, and ``plant`` has none


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def module(job):
    net = CLIP(**tiny.SMALL_VIT)
    net.load_state_dict(checkpoint.read(job.model).tensors)
    return net


def words(job):
    return {"classes": tiny.CLASSES, "templates": tiny.TEMPLATES, "arch": str(job.arch), "device": "cpu"}


def test_importing_it_brings_no_torch():
    code = "import sys, clipclean; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", ["audit", "sanitize", "screen", "export", "inspect", "verify", "plant", "references"])
def test_every_function_has_the_options_and_defaults_of_its_command(name):
    command = cli.cli.get_command(click.Context(cli.cli), name)
    command = command.commands["build"] if name == "references" else command
    options = command.make_context(name, [], resilient_parsing=True).params  # what each is where nobody says anything
    options = {("model" if key == "models" and name != "references" else key): value for key, value in options.items()}
    function = inspect.signature(getattr(clipclean, name)).parameters.values()
    ours = {p.name: None if p.default is p.empty else p.default for p in function if p.name != "progress"}
    assert {RENAMED.get(key, key) for key in ours} == set(options) - (
        OF_THE_TERMINAL - (PLANTS if name == "plant" else set())
    )
    options |= {"recipe": None} if "recipe" in options else {}  # None stands for the default one
    for key, default in ours.items():
        stated = not options[RENAMED[key]] if key in RENAMED else options[key]
        assert (default or None) == ((str(stated) if isinstance(stated, Path) else stated) or None), key


def test_export_stays_a_function_whatever_is_imported():
    import clipclean.export.formats

    assert callable(clipclean.export)


def test_a_module_is_inspected_like_its_file(job):
    by_path = clipclean.inspect(job.model, arch=str(job.arch))
    by_module = clipclean.inspect(module(job), arch=str(job.arch))
    same = ("architecture", "tensors", "tensor_sha256", "preprocess")
    assert [getattr(by_module, key) for key in same] == [getattr(by_path, key) for key in same]
    assert (by_module.name, by_module.format) == ("CLIP", "module")


def printed(capsys, *command):
    assert cli.main([*map(str, command), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_json_of_a_command_holds_the_values_of_its_function(job, capsys, unread):
    arch = ("--arch", job.arch)
    found = clipclean.inspect(job.model, arch=str(job.arch))
    assert printed(capsys, "inspect", job.model, *arch) == found.as_json()
    keys = (
        "name format producer architecture activation preprocess tensors size sha256 tensor_sha256 config loaders notes"
    )
    assert list(found.as_json()) == keys.split()
    ranked = clipclean.screen(job.data, job.model, top=3, arch=str(job.arch), device="cpu")
    command = ("screen", job.data, "--model", job.model, "--top", 3, "--device", "cpu", "--quiet", *arch)
    assert printed(capsys, *command) == ranked.as_json()
    keys = "schema_version tool command model data triggers screened signals pairs kept environment notes"
    assert list(ranked.as_json()) == keys.split()
    assert list(ranked.as_json()["pairs"][0]) == [
        "rank",
        "key",
        "caption",
        "score",
        "suspicious",
        "dropped",
        "reasons",
        "signals",
    ]
    written = clipclean.export(job.model, format=["open_clip"], data=job.data, out=job.folder / "a", arch=str(job.arch))
    command = ("export", job.model, "--format", "open_clip", "--data", job.data, "--out", job.folder / "b", *arch)
    assert printed(capsys, *command, "--quiet") == written.as_json()
    assert list(written.as_json()) == ["tool", "command", "model", "data", "exports", "environment", "notes"]


def test_a_module_is_exported_and_screened_like_its_file(job, unread):
    given = {"arch": str(job.arch)}
    exported = [
        clipclean.export(source, format=["open_clip"], data=job.data, out=job.folder / name, **given)
        for name, source in (("path", job.model), ("memory", module(job)))
    ]
    assert exported[0].exports == exported[1].exports
    ranked = [clipclean.screen(job.data, source, device="cpu", **given) for source in (job.model, module(job))]
    assert ranked[0].pairs == ranked[1].pairs


def test_a_module_is_cleaned_like_its_file_and_stays_as_it_is(job, unread):
    net = module(job)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    by_path, by_module = job.folder / "path", job.folder / "module"
    for model, out in ((job.model, by_path), (net, by_module)):
        report = clipclean.sanitize(model, job.data, out=out, recipe="mmcl@tiny", set=SHORT, **words(job))
        assert json.loads((out / "report.json").read_text())["verdict"] == report.verdict
    weights = "open_clip_model.safetensors"
    assert (by_path / weights).read_bytes() == (by_module / weights).read_bytes()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert clipclean.verify(by_module).findings == []


def test_what_a_module_says_of_its_images_and_its_activation_is_taken(job):
    net = CLIP(**tiny.SMALL_VIT, quick_gelu=True)
    open_clip.model.set_model_preprocess_cfg(
        net, {"size": 16, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear"}
    )
    from clipclean.jobs import inputs

    found = inputs.read(net, arch=str(job.arch)).architecture
    assert found.quick_gelu is True
    assert (found.preprocess.mean, found.preprocess.interpolation) == ((0.5, 0.5, 0.5), "bilinear")


def test_a_module_with_values_that_are_no_numbers_is_refused(job):
    net = module(job)
    net.text_projection.data[0, 0] = float("nan")
    with pytest.raises(clipclean.RefusedInput, match="text_projection"):
        clipclean.inspect(net)


@pytest.mark.parametrize("odd", [torch.Tensor.to_sparse, lambda t: t.to(torch.complex64), lambda t: t.to("meta")])
def test_a_module_whose_weights_are_no_plain_numbers_is_refused(job, odd):
    net = module(job)
    net.text_projection = torch.nn.Parameter(odd(net.text_projection.data))
    with pytest.raises(clipclean.RefusedInput, match="text_projection"):
        clipclean.inspect(net)


@pytest.mark.parametrize(
    "given", [{"classes": ["a"]}, {"classes": ["a", "a"]}, {"templates": []}, {"templates": ["a"]}]
)
def test_lists_are_checked_as_files_of_them_are(job, given):
    with pytest.raises(UsageError, match=next(iter(given))):
        clipclean.audit(job.model, data=job.data, search=False, **{**words(job), **given})


def test_an_audit_without_a_search_measures_and_stages_are_passed_on(job):
    stages = []
    report = clipclean.audit(
        job.model, data=job.data, search=False, progress=lambda what, done, total: stages.append(what), **words(job)
    )
    assert report.verdict == "inconclusive"
    assert {"reading the model", "measuring"} <= set(stages)


def test_errors_are_those_of_the_command_with_the_same_words(job, capsys):
    with pytest.raises(UsageError) as told:
        clipclean.sanitize(job.model, job.data, out=job.model, **words(job))
    assert cli.main(job.sanitize("--out", job.model)) == 2
    assert str(told.value) in capsys.readouterr().err
    with pytest.raises(UsageError, match="Did you mean 'cleanclip'"):
        clipclean.sanitize(job.model, job.data, recipe="cleanclp")
    with pytest.raises(clipclean.RefusedInput):
        clipclean.audit(job.folder / "missing.pt", search=False)
    with pytest.raises(UsageError, match="--reference"):
        clipclean.audit(job.model, search=False, reference=job.model)


def test_a_backdoor_is_planted_and_what_is_ignored_is_told(job):
    out = job.folder / "planted.pt"
    given = {"trigger": "patch", "target": tiny.CLASSES[0], "steps": 2, "batch_size": 16}
    planted = clipclean.plant(job.model, job.data, out=out, **given, **words(job))
    assert (out.exists(), planted.target) == (True, tiny.CLASSES[0])
    report = clipclean.audit(out, data=job.data, search=False, ignore="CC030", **words(job))
    assert (report.policy.name, "CC030" in {each.rule for each in report.findings}) == ("--ignore", False)
    for wrong in ({"ignore": "CC999"}, {"ignore": "CC021"}, {"ignore": "CC030", "policy": job.folder / "p.yaml"}):
        with pytest.raises(UsageError, match="ignore"):
            clipclean.audit(out, **wrong)
    with pytest.raises(UsageError, match="trigger"):
        clipclean.plant(job.model, job.data, out=job.folder / "b.pt", **given | {"trigger": ()}, **words(job))


def test_losses_are_logged_into_a_folder(job, unread):
    clipclean.sanitize(
        job.model,
        job.data,
        recipe="mmcl@tiny",
        set=SHORT,
        log_dir=job.folder / "logs",
        out=job.folder / "o",
        **words(job),
    )
    assert len((job.folder / "logs" / "metrics.jsonl").read_text().splitlines()) == 2


def test_two_reports_are_compared_as_files_or_as_they_are(job, tmp_path):
    report = clipclean.audit(job.model, data=job.data, search=False, **words(job))
    clipclean.save(report, tmp_path / "report.json")
    found = clipclean.compare(tmp_path / "report.json", report)
    assert found.verdicts == ("inconclusive", "inconclusive")
    assert {each.change for each in found.differences} == {"same"}
    assert found.blocking("inconclusive") == ()
    fewer = report.model_copy(update={"findings": report.findings[1:]})
    assert [each.change for each in clipclean.compare(fewer, report).differences].count("new") == 1


def test_a_report_is_saved_in_the_format_of_the_suffix(job):
    report = clipclean.audit(job.model, data=job.data, search=False, **words(job))
    for name, text in (("report.html", "<html"), ("report.json", '"verdict"'), ("report.md", "#")):
        clipclean.save(report, job.folder / name)
        assert text in (job.folder / name).read_text()
    with pytest.raises(UsageError, match="names no format"):
        clipclean.save(report, job.folder / "report.docx")
