"""Each kind of images beside each comparison: an audit ends in a verdict or a refusal, never in a bug, however little the images tell."""

import itertools

import pytest
import short
import tiny

from clipclean import cli

DATA = ("pairs", "labelled", "captionless", "one-class", "one-image")
COMPARISONS = {
    "alone": (),
    "panel alone": ("--no-search",),
    "clean model": ("--reference", "other.pt"),
    "base": ("--base", "base.pt"),
    "no base": ("--base", "other.pt"),
    "stored": ("--references", "stored.json"),
    "trigger": ("--trigger", "patch", "--target", tiny.CLASSES[0]),
    "power": ("--power",),
}


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        short.searches(patch)
        short.exact(patch)
        short.known_triggers(patch)
        short.maps(patch)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    job = tiny.job(tmp_path_factory.mktemp("job"))
    tiny.relatives(job)
    tiny.labelled(job.folder / "labelled")
    for name, count in (("captionless", 30), (f"one-class/{tiny.CLASSES[0]}", 30), ("one-image", 1)):
        (job.folder / name).mkdir(parents=True)
        for number in range(count):
            tiny.image(number).save(job.folder / name / f"{number}.png")
    options = ("-d", job.folder / "labelled", "--arch", job.arch, *job.words(), "--effort", "quick", "--quiet")
    words = ["references", "build", job.folder / "other.pt", *options, "--out", job.folder / "stored.json"]
    assert cli.main(list(map(str, words))) == 0
    return job


def combinations(seconds):
    """Each kind of images with each of these; those that tell least are quick tests."""
    return [
        pytest.param(data, name, marks=() if data == "captionless" else pytest.mark.slow)
        for data, name in itertools.product(DATA, seconds)
    ]


@pytest.mark.parametrize(("data", "comparison"), combinations(COMPARISONS))
def test_an_audit_ends_in_a_verdict_or_a_refusal(job, capsys, data, comparison):
    words = [job.folder / word if (job.folder / word).exists() else word for word in COMPARISONS[comparison]]
    code = cli.main(list(map(str, job.audit("-d", job.folder / data, "--effort", "quick", "--quiet", *words))))
    assert code in {0, 1, 3, 4}, capsys.readouterr().err


SMALL = "--batch-size 16 --set train.warmup_steps=1 --set data.min_pairs=2"
COMMANDS = {
    "compare": "compare model.pt --base base.pt -d DATA",
    "references": "references build other.pt -d DATA --effort quick --out DATA.json",
    "screen": "screen DATA --model model.pt",
    "export": "export model.pt --data DATA --out out --force --format open_clip",
    "plant": "plant model.pt --data DATA --trigger patch --target CLASS --steps 2 --batch-size 16 --out DATA.pt --force",
    "cleaning": f"sanitize model.pt -d DATA --recipe surgery --trigger patch --target CLASS --out out --force --set unlearn.steps=2 --set auto.effort=quick {SMALL}",
    "cleaning beside a base": f"sanitize model.pt -d DATA --base base.pt --recipe undo --out out --force --set unlearn.steps=2 {SMALL}",
    "cleaning beside a model": f"sanitize model.pt -d DATA --reference other.pt --recipe distill --out out --force --set train.max_steps=2 {SMALL}",
    "cleaning by captions": f"sanitize model.pt -d DATA --recipe mmcl --no-search --out out --force --set train.max_steps=2 {SMALL}",
}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "command"), itertools.product(DATA, COMMANDS))
def test_a_command_ends_in_its_result_or_a_refusal(job, capsys, unread, monkeypatch, data, command):
    monkeypatch.chdir(job.folder)
    words = [word.replace("DATA", data).replace("CLASS", tiny.CLASSES[0]) for word in COMMANDS[command].split()]
    lists = ("--classes", "classes.txt", "--templates", "templates.txt") if command not in {"screen", "export"} else ()
    device = () if command == "export" else ("--device", "cpu")
    code = cli.main([*words, "--arch", "arch.json", *lists, *device, "--quiet"])
    assert code in {0, 1, 3, 4}, capsys.readouterr().err
