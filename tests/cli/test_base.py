"""``--base``: what a report tells of the model that another one was finetuned from."""

import pytest
import short
import tiny
from report.page import Page

import clipclean
from clipclean import checkpoint, cli, report
from clipclean.attack import triggers
from clipclean.schema import results


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        short.searches(patch)
        short.exact(patch)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job whose model lies near ``base.pt`` and is a stranger to ``other.pt``."""
    job = tiny.job(tmp_path_factory.mktemp("job"))
    tiny.relatives(job)
    tiny.labelled(job.folder / "labelled", count=60)
    return job


def audited(job, said, base, *more):
    made = [
        "--json",
        "--effort",
        "quick",
        "--quiet",
        "-d",
        job.folder / "labelled",
        "--report",
        f"html={job.folder / 'page.html'}",
    ]
    found = said(job.audit(*made, "--base", job.folder / base, *more), 4)
    report.parse(found)
    return found


def test_a_dry_run_tells_what_is_done_with_the_base(job, capsys):
    assert (
        cli.main([*map(str, job.audit("-d", job.folder / "labelled", "--base", job.folder / "base.pt")), "--dry-run"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("base ") and "base.pt" in line for line in lines)
    assert any(line.startswith("step ") and "base.pt" in line for line in lines)


def test_a_cleaning_beside_the_base_tells_what_it_left(job, said, unread):
    made = said(cleaned(job, "--set", "auto.effort=quick"), 4)
    report.parse(made)
    assert (made["recipe"]["name"], made["base"]["is_base"]) == ("undo", True)
    assert isinstance(made["base"]["left"], list)


def policy(job, digest):
    return tiny.written(job.folder / "policy.yaml", f"version: 1\nname: finetunes\nbase_sha256: [{digest}]\n")


@pytest.mark.parametrize("of", ["file", "tensors", "another"])
def test_a_policy_that_names_the_base_takes_no_other(job, said, of):
    read = checkpoint.read(job.folder / "base.pt")
    digest = {"file": read.sha256, "tensors": checkpoint.digest(read.tensors), "another": 64 * "f"}[of]
    made = audited(job, said, "base.pt", "--policy", policy(job, digest))
    assert ("CC028" in rules(made)) == (of == "another")


@pytest.fixture(scope="module")
def stored(job):
    """The search of the base, in a file."""
    file = job.folder / "stored.json"
    words = [
        "-d",
        job.folder / "labelled",
        "--arch",
        job.arch,
        *job.words(),
        "--effort",
        "quick",
        "--out",
        file,
        "--quiet",
    ]
    assert cli.main(list(map(str, ["references", "build", job.folder / "base.pt", *words]))) == 0
    return file


def is_of_one_stored_model(search):
    return (search["calibration"]["kind"], search["calibration"]["models"]) == ("file", 1)


def test_a_base_whose_search_is_stored_is_not_searched_again(job, said, stored):
    made = audited(job, said, "base.pt", "--references", stored)
    assert is_of_one_stored_model(made["measurements"]["search"])
    assert made["base"]["is_base"]


def cleaned(job, *more):
    """A cleaning by one short recipe."""
    values = ("unlearn.steps=2", "train.walk=0.001", "train.batch_size=16", "data.min_pairs=16", "train.warmup_steps=1")
    changes = [part for value in values for part in ("--set", value)]
    return job.sanitize(
        "--base",
        job.folder / "base.pt",
        "--json",
        "--force",
        "--keep-failed",
        *changes,
        *more,
        recipe="undo",
        search=True,
    )


@pytest.mark.slow  # a whole cleaning
def test_a_cleaning_does_not_search_a_base_whose_search_is_stored(job, said, stored):
    made = said(cleaned(job, "--set", "auto.effort=quick", "--references", stored), 4)
    assert is_of_one_stored_model(made["after"]["measurements"]["search"])
    assert made["base"]["is_base"]


def test_a_cleaning_takes_no_search_of_another_effort(job, stored, capsys):
    assert cli.main(list(map(str, cleaned(job, "--set", "auto.effort=standard", "--references", stored)))) == 2
    assert "effort quick" in capsys.readouterr().err


def compared(job, *more):
    words = ["-d", job.folder / "labelled", "--arch", job.arch, *job.words(), "--quiet"]
    return ["compare", job.model, *words, *more]


def test_a_comparison_tells_what_moved(job, said):
    comparison = said(compared(job, "--base", job.folder / "base.pt", "--json"))
    results.ComparedModels.model_validate(comparison)
    base = comparison["base"]
    assert (base["is_base"], base["tried"], comparison["findings"]) == (True, len(triggers.panel(0)), [])
    assert base["change"] == pytest.approx(0.02, abs=0.01)
    assert comparison["model"]["name"] == "model.pt"
    assert {"on_both", "on_base", "differences"} <= base.keys()


def test_a_comparison_with_a_stranger_tries_no_trigger(job, said):
    comparison = said(compared(job, "--base", job.folder / "other.pt", "--json"), 1)
    base = comparison["base"]
    assert (rules(comparison), base["is_base"], base["tried"]) == ({"CC035"}, False, 0)


def test_a_comparison_with_a_stranger_has_no_error(job, said):
    said(compared(job, "--base", job.folder / "other.pt", "--fail-on", "error"))


def test_a_comparison_in_words_names_both_models(job, said):
    words = said(compared(job, "--base", job.folder / "base.pt"))
    assert "model.pt" in words
    assert "base.pt" in words


def test_python_compares_a_model_with_its_base(job):
    words = {"classes": job.classes, "templates": job.templates, "data": job.folder / "labelled", "device": "cpu"}
    made = clipclean.compare(job.model, base=job.folder / "base.pt", arch=str(job.arch), **words)
    assert made.base.is_base


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--base"),
        (["--classes", "classes.txt"], "--classes"),
        (["other.json", "--base", "base.pt"], "other.json"),
        (["--base", "model.pt"], "model.pt"),
        (["--base", "hf-hub:nobody/nothing"], "hf-hub:nobody/nothing"),
    ],
)
def test_a_comparison_that_lacks_its_second_side_is_refused(job, refused, words, named):
    words = [str(job.folder / word) if (job.folder / word).exists() else word for word in words]
    code = 3 if "hf-hub" in named else 2
    refused(["compare", str(job.model), *words], job.folder, code, named)


def test_without_a_base_there_is_nothing_to_begin_with(job, refused):
    refused(job.sanitize(recipe="undo", search=True), job.folder, 2, "--base")


def rules(made):
    return {finding["rule"] for finding in made["findings"]}


def test_a_true_base_is_told_with_what_moved(job, said):
    made = audited(job, said, "base.pt")
    base = made["base"]
    assert (base["name"], base["is_base"], base["weights"] > 0.99, base["images"] > 0.9) == (
        "base.pt",
        True,
        True,
        True,
    )
    assert base["change"] == pytest.approx(0.02, abs=0.01)
    assert {each["class"] for each in base["moved"]} == set(tiny.CLASSES)
    assert {"token_embedding", "visual.transformer.resblocks.0"} <= {each["name"] for each in base["layers"]}
    assert "CC035" not in rules(made)
    assert "CC004" not in rules(made)  # it serves as a reference
    page = Page((job.folder / "page.html").read_text(encoding="utf-8"))
    assert page.faults == []
    [section] = [each for each in page.all("section") if each.get("id") == "base"]
    assert section


def test_a_stranger_is_taken_as_a_reference(job, said):
    audit = audited(job, said, "other.pt")
    assert (audit["base"]["is_base"], audit["base"]["differences"]) == (False, [])
    assert "CC035" in rules(audit)
    assert not {"CC004", "CC009"} & rules(audit)
