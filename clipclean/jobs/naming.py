"""What a user names: classes, templates, and triggers that are suspected of leading to a class."""

from collections.abc import Sequence
from pathlib import Path

from clipclean import data, detect, model
from clipclean.attack import trigger_files, triggers
from clipclean.detect import Suspicion
from clipclean.errors import UsageError

SHOWN_NAMES = 5  # names in a message


def read_vocabulary(classes: Path | Sequence[str] | None, templates: Path | Sequence[str] | None, /) -> data.Vocabulary:
    """The user's classes and templates, in files or as they are; by default ImageNet-1k's names and open_clip's seven simple templates.

    Raises:
        UsageError: two names are one to the model, so that each would hide what is unusual of the other; or what the files hold.
    """
    import open_clip

    usual = [form("{}") for form in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    forms = tuple(usual if templates is None else data.read_templates(templates))
    if classes is None:
        return data.Vocabulary(tuple(open_clip.IMAGENET_CLASSNAMES), forms)  # of which two have one name
    names = data.read_classes(classes)
    if same := model.same_tokens(names):
        groups = "; ".join(", ".join(map(repr, group[:SHOWN_NAMES])) for group in same[:SHOWN_NAMES])
        raise UsageError(
            f"These classes have the same tokens, so no model can tell them apart: {groups}. Leave one of each in."
        )
    return data.Vocabulary(tuple(names), forms)


def suspicions(
    specs: Sequence[str], target: str | None, vocabulary: data.Vocabulary, /
) -> tuple[Suspicion[int | None], ...]:
    """The triggers that the user named, by specs or by files of found ones, with the place of the target class.

    A file brings its own class, unless a target is given.

    Raises:
        UsageError: a trigger or a class is unknown, a target is given without a trigger, or two files are of one name.
        RefusedInput: a file holds no trigger that an audit saved.
    """
    if target is not None and not specs:
        raise UsageError(
            f"--target {target!r} without --trigger: there is nothing to measure for it. Name the trigger that you "
            "suspect, or leave the target out: the panel is tried with every class as the target."
        )
    number = None if target is None else class_number(target, vocabulary.classes)
    suspicions_of_user: list[Suspicion[int | None]] = []
    for spec in specs:
        trigger, target_number = named_trigger(spec), number
        if number is None and isinstance(trigger, detect.InvertedTrigger):
            try:
                target_number = class_number(trigger.target, vocabulary.classes)
            except UsageError as error:
                raise UsageError(f"--trigger {spec}: {error} Or name the class by --target.") from error
        suspicions_of_user.append(Suspicion(trigger, target_number))
    specs_of_files = [trigger.spec for trigger, _ in suspicions_of_user if isinstance(trigger, detect.InvertedTrigger)]
    if twice := [spec for spec in dict.fromkeys(specs_of_files) if specs_of_files.count(spec) > 1]:
        raise UsageError(
            f"Several --trigger files are called {', '.join(twice)}: a report could not tell them apart. Give one of each."
        )
    return tuple(suspicions_of_user)


def named_trigger(spec: str, /) -> detect.TriggerLike:
    """A trigger by its spec, or by a file of a found one.

    Raises:
        UsageError: the spec is none.
        RefusedInput: the file holds no trigger that an audit saved.
    """
    return trigger_files.load(Path(spec)) if spec.endswith(trigger_files.TRIGGER_SUFFIX) else triggers.parse(spec)


def class_number(name: str, classes: Sequence[str], /) -> int:
    """The place of a class name; raises UsageError with near names."""
    import difflib

    if name in classes:
        return list(classes).index(name)
    near = difflib.get_close_matches(name, classes, n=3)
    hint = f" Did you mean {', '.join(map(repr, near))}?" if near else ""
    raise UsageError(
        f"Class {name!r} is not in the vocabulary of {len(classes)} classes.{hint} A list of your own comes by --classes FILE."
    )
