import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import tiny
import torch
from PIL import Image
from report.page import Page

import clipclean.cli.audit  # noqa: F401 # its help tells EFFORTS as they are when it is first imported
from clipclean import cli, demo, detect, files, report
from clipclean.attack import triggers
from clipclean.config import recipe


@pytest.fixture(scope="module", autouse=True)
def _short():
    """The shortest search that there is: what is tested here is all around it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, effort in recipe.EFFORTS.items():
            short = effort.model_copy(update={"steps": 2, "restarts": 1, "suspects": 2})
            patch.setitem(recipe.EFFORTS, name, short)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return tiny.job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def trusted(job):
    """Another model of the same architecture."""
    path = job.folder / "trusted.pt"
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), path)
    return path


@pytest.fixture(scope="module")
def images(job):
    return tiny.labelled(job.folder / "labelled", count=60)


class Finished(NamedTuple):
    """A whole audit on labelled images: its code, what it printed, its report in every form, and the triggers that it saved."""

    code: int
    shown: str
    forms: dict[str, Path]
    triggers: Path

    @property
    def report(self):
        return report.read(self.forms["json"]).as_json()  # against the schema


@pytest.fixture(scope="module")
def finished(job, images):
    forms = {form: job.folder / f"report.{form}" for form in report.FORMATS}
    outputs = [part for form, path in forms.items() for part in ("--report", f"{form}={path}")]
    saved, shown = job.folder / "found", io.StringIO()
    with contextlib.redirect_stdout(shown):
        code = cli.main(command(job, "--data", images, "--save-triggers", saved, *outputs))
    return Finished(code, shown.getvalue(), forms, saved)


def command(job, *more, model=None):
    return job.audit("--effort", "quick", "--quiet", *more, models=() if model is None else (model,))


def audited(job, capsys, *more, **settings):
    """Exit code and report of a run; the report is valid."""
    code = cli.main(command(job, *more, "--json", **settings))
    captured = capsys.readouterr()
    assert all(line.startswith("clipclean: Policy ours ") for line in captured.err.splitlines())
    made = json.loads(captured.out)
    report.parse(made)
    return code, made


def refused(job, capsys, *more, **settings):
    code = cli.main(command(job, *more, **settings))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return code, captured.err


def rules(made):
    return {finding["rule"] for finding in made["findings"]}


def steady(made):
    """A report without what time it took."""
    made["measurements"]["search"].pop("seconds")
    return {key: value for key, value in made.items() if key != "seconds"}


# What is measured on, and what it is compared with.


def test_without_data_the_bundled_images_serve_and_it_is_said(job, capsys):
    code, made = audited(job, capsys)
    assert (code, made["verdict"]) == (4, "inconclusive")
    assert {"CC004", "CC031"} <= rules(made)
    (told,) = [finding for finding in made["findings"] if finding["rule"] == "CC031"]
    assert told["level"] == "note"
    assert f"{made['data']['pairs']} bundled ones" in told["message"]
    assert made["measurements"]["search"]["calibration"]["kind"] == "none"
    assert {entry["family"] for entry in made["measurements"]["search"]["found"]} == set(detect.FAMILIES)
    assert len(made["measurements"]["probes"]) == len(triggers.panel(0))
    assert made["effort"] == "quick"


def test_own_images_with_labels_measure_accuracy_too(finished):
    made = finished.report
    assert "CC031" not in rules(made)
    assert (made["data"]["name"], made["data"]["pairs"]) == ("labelled", 60)
    assert made["measurements"]["clean_accuracy"]["n"] == 60
    assert made["measurements"]["clean_accuracy"]["definition"] == "zero-shot top-1 over 12 classes"


@pytest.mark.slow
def test_skipped_images_are_told(job, capsys, tmp_path):
    folder = tiny.labelled(tmp_path / "labelled", count=60)
    next(folder.rglob("*.png")).write_bytes(b"no picture")
    _, made = audited(job, capsys, "--data", folder)
    assert "CC030" in rules(made)
    assert len(made["data"]["skipped"]) == 1


@pytest.mark.slow
def test_a_reference_is_what_found_triggers_are_compared_with(job, capsys, images, trusted):
    _, made = audited(job, capsys, "--data", images, "--reference", trusted)
    assert made["measurements"]["search"]["calibration"] == {"kind": "reference", "name": "trusted.pt", "models": 1}
    assert "CC004" not in rules(made)
    assert all(entry["reference"]["n"] == 1 for entry in made["measurements"]["search"]["found"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report_and_another_one_other_numbers(job, capsys, images):
    first, again, other = (audited(job, capsys, "--data", images, "--seed", seed) for seed in (1, 1, 2))
    assert steady(first[1]) == steady(again[1])
    assert first[0] == again[0]
    assert steady(other[1])["measurements"]["search"] != first[1]["measurements"]["search"]


# Options.


@pytest.mark.slow
def test_of_a_short_list_every_class_is_compared_at_any_effort(job, capsys, images):
    for effort, suspects in (("quick", 2), ("standard", 4)):
        _, made = audited(job, capsys, "--data", images, "--effort", effort)
        found = made["measurements"]["search"]
        closer, others = ({row["class"] for row in found[key]} for key in ("found", "controls"))
        assert 0 < len(closer) <= suspects
        assert closer | others == set(tiny.CLASSES)
        assert made["effort"] == effort
    assert refused(job, capsys, "--effort", "some")[0] == 2


@pytest.mark.parametrize("is_backdoored", [True, False])
def test_a_suspicion_is_tested_alone(job, capsys, tmp_path, is_backdoored):
    demo.unpack(tmp_path)
    given = demo.arguments(tmp_path)
    if not is_backdoored:
        torch.save(tiny.state_dict(json.loads(Path(given["arch"]).read_text())["model_cfg"]), tmp_path / "clean.pt")
    model = given["model"] if is_backdoored else tmp_path / "clean.pt"
    words = [part for key in ("arch", "classes", "templates", "target") for part in (f"--{key}", str(given[key]))]
    arguments = ["audit", str(model), "-d", str(given["eval_data"]), *words, "--trigger", *given["trigger"]]
    code = cli.main([*arguments, "--no-search", "--json", "--quiet", "--device", "cpu"])
    told = json.loads(capsys.readouterr().out)
    errors = [each for each in told["findings"] if each["level"] == "error"]
    assert (code, [each["rule"] for each in errors]) == ((1, ["CC001"]) if is_backdoored else (4, []))
    (probe,) = told["measurements"]["probes"]
    assert (probe["known"], probe["target"]) == (True, given["target"])
    assert all(each["target"] == given["target"] and each["value"] > each["threshold"] for each in errors)


def test_without_a_search_nothing_passes(job, capsys, images):
    code, made = audited(job, capsys, "--data", images, "--no-search")
    assert code == 4
    assert "CC021" in rules(made)
    assert made["measurements"]["search"] == {}


@pytest.mark.parametrize("option", [("--save-triggers", "found"), ("--reference", "trusted.pt")])
def test_options_that_need_a_search_are_refused_without_one(job, capsys, option):
    code, told = refused(job, capsys, "--no-search", *option)
    assert code == 2
    assert f"--no-search with {option[0]}" in told


def test_saved_triggers_are_what_sanitize_takes(finished, job, images, tmp_path, unread):
    made, folder = finished.report, finished.triggers
    names = [entry["file"] for entry in made["measurements"]["search"]["found"]]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    first = made["measurements"]["search"]["found"][0]
    code = cli.main(job.sanitize("--trigger", folder / names[0], "--out", tmp_path / "out", "--eval-data", images))
    assert code in (0, 1, 4)
    (known,) = [
        p
        for p in report.read(tmp_path / "out" / "report.json").as_json()["before"]["measurements"]["probes"]
        if p["known"]
    ]
    assert (known["trigger"], known["target"]) == (f"found:{first['family']},class={first['class']}", first["class"])


def test_a_folder_with_files_in_it_is_refused_before_the_model_is_read(job, capsys, tmp_path):
    (tmp_path / "x").write_text("")
    no_model = tiny.written(job.folder / "no-model.pt", "no model")
    code, told = refused(job, capsys, "--save-triggers", tmp_path, model=no_model)
    assert (code, "Name another" in told) == (2, True)


# The exit code is the verdict, and a policy moves it.


def policy(folder, text):
    return tiny.written(folder / "policy.yaml", f"version: 1\nname: ours\n{text}")


def suppression(job, code, *, expires="2999-01-31"):
    match = f"{{model_sha256: {files.sha256(job.model)}}}"
    return f"  - {{rule: {code}, reason: known, by: Ann, expires: {expires}, match: {match}}}\n"


@pytest.mark.slow
def test_a_policy_turns_a_warning_into_a_failure_and_exit_zero_lets_the_job_go_on(job, capsys, images, tmp_path):
    strict = policy(tmp_path, "severities:\n  CC004: error\n")
    code, made = audited(job, capsys, "--data", images, "--policy", strict)
    assert (code, made["verdict"]) == (1, "fail")
    code, made = audited(job, capsys, "--data", images, "--policy", strict, "--exit-zero")
    assert (code, made["verdict"]) == (0, "fail")


@pytest.mark.slow
def test_what_a_policy_sets_aside_does_not_count_and_too_little_evidence_is_never_set_aside(
    job, capsys, images, tmp_path
):
    lenient = policy(tmp_path, "suppressions:\n" + suppression(job, "CC002") + suppression(job, "CC003"))
    code, made = audited(job, capsys, "--data", images, "--policy", lenient)
    assert (code, made["verdict"]) == (4, "inconclusive")  # there is no clean model of this kind to compare with
    assert "CC004" in rules(made)
    assert not {"CC002", "CC003"} & rules(made)
    assert made["policy"]["name"] == "ours"
    code, _ = audited(job, capsys, "--data", images, "--policy", lenient, "--no-search")
    assert code == 4


def test_a_policy_cannot_do_without_a_clean_model_to_compare_with(job, capsys, images, tmp_path):
    blind = policy(tmp_path, f"suppressions:\n{suppression(job, 'CC004')}")
    assert cli.main(command(job, "--data", images, "--policy", blind)) == 2
    assert "'CC004' cannot be suppressed" in capsys.readouterr().err


@pytest.mark.slow
def test_an_expired_suppression_has_no_effect(job, capsys, images, tmp_path):
    old = policy(tmp_path, f"suppressions:\n{suppression(job, 'CC003', expires='2020-01-31')}")
    code, made = audited(job, capsys, "--data", images, "--policy", old)
    assert (code, {"CC004", "CC051"} <= rules(made)) == (4, True)


# Bad input: inconclusive or refused, never pass, never a traceback.


def test_few_images_are_inconclusive(job, capsys, tmp_path):
    code, made = audited(job, capsys, "--data", tiny.labelled(tmp_path / "eight", count=8))
    assert (code, "CC020" in rules(made)) == (4, True)


def test_copies_of_one_image_are_inconclusive(job, capsys, tmp_path):
    (tmp_path / "black").mkdir()
    for number in range(60):
        Image.new("RGB", (24, 24)).save(tmp_path / "black" / f"{number}.png")
    code, told = refused(job, capsys, "--data", tmp_path / "black")
    assert (code, "copies of one" in told) == (4, True)


def test_one_image_is_inconclusive_and_none_is_refused(job, capsys, tmp_path):
    one = tiny.labelled(tmp_path / "one", count=1)
    assert refused(job, capsys, "--data", one)[0] == 4
    (tmp_path / "none").mkdir()
    assert refused(job, capsys, "--data", tmp_path / "none")[0] == 3
    assert refused(job, capsys, "--data", tmp_path / "missing")[0] == 3


@pytest.mark.parametrize(("content", "code"), [("", 2), ("red square\n", 2), ("red square\nred square\n", 2)])
def test_class_lists_without_two_classes_are_refused(job, capsys, tmp_path, content, code):
    classes = tiny.written(tmp_path / "classes.txt", content)
    assert refused(job, capsys, "--classes", classes)[0] == code


def test_a_class_list_that_is_missing_is_refused(job, capsys, tmp_path):
    assert refused(job, capsys, "--classes", tmp_path / "none.txt")[0] == 2


@pytest.mark.slow
def test_few_classes_are_inconclusive(job, capsys, tmp_path):
    classes = tiny.written(tmp_path / "classes.txt", "red square\nblue circle\n")
    code, made = audited(job, capsys, "--classes", classes)
    assert (code, "CC022" in rules(made)) == (4, True)


def test_a_model_that_maps_everything_to_one_vector_is_inconclusive(job, capsys, images, tmp_path):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["visual.ln_post.weight"].zero_()
    weights["visual.ln_post.bias"].fill_(1)
    torch.save(weights, tmp_path / "flat.pt")
    code, made = audited(job, capsys, "--data", images, model=tmp_path / "flat.pt")
    assert (code, "CC005" in rules(made)) == (4, True)


def test_weights_that_are_not_finite_are_refused(job, capsys, tmp_path):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["visual.proj"][0, 0] = float("nan")
    torch.save(weights, tmp_path / "nan.pt")
    code, told = refused(job, capsys, model=tmp_path / "nan.pt")
    assert (code, "visual.proj" in told) == (3, True)


def test_weights_whose_embeddings_are_not_finite_are_inconclusive(job, capsys, tmp_path):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["visual.ln_post.bias"].fill_(3e38)  # finite, and what comes of it is not
    weights["visual.proj"].fill_(3e38)
    torch.save(weights, tmp_path / "overflow.pt")
    code, told = refused(job, capsys, model=tmp_path / "overflow.pt")
    assert (code, "not finite" in told) == (4, True)


def test_a_reference_with_the_same_weights_is_refused(job, capsys, images):
    copy = job.folder / "copy.pt"
    torch.save({"state_dict": tiny.state_dict(tiny.SMALL_VIT)}, copy)  # another file, the same weights
    code, told = refused(job, capsys, "--data", images, "--reference", copy)
    assert (code, "same weights" in told) == (2, True)


def test_a_reference_of_another_architecture_is_refused(job, capsys, images):
    torch.save(tiny.state_dict(tiny.TINY_VIT), job.folder / "large.pt")
    code, told = refused(job, capsys, "--data", images, "--reference", job.folder / "large.pt")
    assert (code, "do not fit" in told) == (3, True)


def test_power_with_too_few_pairs_is_inconclusive_and_needs_a_search(job, capsys, images):
    code, told = refused(job, capsys, "--data", images, "--power")
    assert (code, "60 of 60 have: at least 64 are needed" in told) == (4, True)
    code, told = refused(job, capsys, "--power", "--no-search")
    assert (code, "--no-search with --power" in told) == (2, True)


@pytest.mark.parametrize(
    ("content", "code"),
    [("{}", 3), ("", 3), ('{"format": "clipclean references 1", "models": [{"sizes": {"mask": {"a": NaN}}}]}', 3)],
)
def test_what_is_no_references_file_is_refused(job, capsys, images, content, code):
    path = tiny.written(job.folder / "references.json", content)
    found, told = refused(job, capsys, "--data", images, "--references", path)
    assert (found, "references.json" in told) == (code, True)


def test_a_references_file_that_is_a_pipe_or_too_large_is_refused_before_the_search(job, capsys, images, tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "large.json").open("wb") as sparse:
        sparse.truncate(51_000_000)
    for name in ("pipe.json", "large.json"):
        found, told = refused(job, capsys, "--data", images, "--references", tmp_path / name)
        assert (found, name in told) == (3, True)


# What is written.


def test_every_form_of_a_report_is_valid(finished):
    assert finished.code == 4
    forms, made = finished.forms, finished.report
    page = Page(forms["html"].read_text(encoding="utf-8"))
    assert page.faults == []
    assert len(page.all("img")) == 14  # the trigger by itself, twice, and six images without and with it
    assert all(image["alt"] for image in page.all("img"))
    log = json.loads(forms["sarif"].read_text(encoding="utf-8"))
    assert log["runs"][0]["invocations"] == [{"executionSuccessful": True}]
    assert {result["ruleId"] for result in log["runs"][0]["results"]} == rules(made)
    suites = ElementTree.fromstring(forms["junit"].read_text(encoding="utf-8"))
    assert int(suites.get("errors")) == 1  # the verdict: an inconclusive run is no pass
    assert 500 < forms["markdown"].stat().st_size < 1_000_000
    assert finished.shown.startswith("clipclean: inconclusive model.pt: ")
    assert finished.shown.count("\n") == 1
    assert "INCONCLUSIVE" in forms["text"].read_text(encoding="utf-8")


@pytest.mark.slow
def test_progress_goes_to_stderr(job, capsys, images):
    cli.main([part for part in command(job, "--data", images) if part != "--quiet"])
    captured = capsys.readouterr()
    assert "clipclean" in captured.err.splitlines()[0]
    assert "effort quick" in captured.err.splitlines()[0]
    steps = len(triggers.panel(0)) + 2  # beside the words and the images themselves
    for stage in ("reading the model: 1/1", f"measuring: {steps}/{steps}"):
        assert stage in captured.err
    assert re.search(r"searching: (\d+)/\1\b", captured.err)
