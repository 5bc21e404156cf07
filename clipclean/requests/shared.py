"""Options that several commands have; those of one stand above its request."""

from dataclasses import replace
from pathlib import Path

import click
from click.types import convert_type

from clipclean.requests.option import Opt
from clipclean.requests.values import Finite, data_paths, device, label, labels

SETS_HELP = "A folder, a table such as CSV or JSON, or tar shards ('shards/*.tar'): 'clipclean explain inputs' has all formats. Repeatable."


SETS = Opt(
    metavar="CLEAN",
    value_type=click.Path(path_type=Path),
    is_several=True,
    gather=data_paths,
    reads="path",
    help_position=("Data", 10),
    in_brief=True,
    has_letter=True,
)
A_MODEL = Opt(
    metavar="MODEL",
    reads="path",
    is_model=True,
    python_attribute="state_dict",
    help_position=("Model", 10),
    in_brief=True,
)
A_TRIGGER = Opt(metavar="SPEC|FILE", reads="text", help_position=("Search", 60), in_brief=True)
A_SEARCH = ("search", "without a search nothing is found that could be saved or compared. Leave one of them out.")
TEXT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

CHECKPOINT = replace(A_MODEL, argument="MODEL", argument_words="A checkpoint, or an open_clip module.")
ONE_MODEL = replace(CHECKPOINT, argument="")  # of several, whose command asks the same of each
ARCH = Opt(
    "Architecture of the model, by name or as a file. An open_clip name, or a JSON file with an open_clip config. Overrides the "
    "architecture inferred from the tensors. A wrong one is refused, since the tensors do not fit.",
    "NAME|FILE",
    reads="text",
    help_position=("Model", 60),
    in_brief=True,
)
DOWNLOAD = Opt(
    "Fetch a model that you name as hf-hub:ORG/MODEL[@REVISION] or open_clip:ARCH/TAG, if it is not in your "
    "cache. Without this flag no command uses a network.",
    help_position=("Model", 50),
)
WEIGHTS = Opt(
    "The set of weights to use from a file with several: ema for averaged ones, or the name of a set.",
    "NAME",
    default_words="the only set",
    help_position=("Model", 70),
)
EVAL_DATA = Opt(
    "Labelled images to measure on. One folder per class, or any of the --data formats with class names as "
    "labels or captions. Without them some pairs are kept out of training, to measure image-text recall; "
    "captions that name exactly one class serve as labels.",
    "LABELLED",
    gather=data_paths,
    reads="path",
    help_position=("Data", 20),
    in_brief=True,
)
IMAGE_KEY = Opt(
    "Column of the images in a table, or their extension in a shard, if it has an unusual name.",
    "NAME",
    default_words="the known ones",
    help_position=("Data", 30),
)
CAPTION_KEY = Opt(
    "Column or JSON key of the captions, if it has an unusual name.",
    "NAME",
    default_words="the known ones",
    help_position=("Data", 40),
)
CLASSES = Opt(
    "Class names, one per line. Accuracy is measured over them, and an attack shows only if its target is one of them.",
    "FILE",
    argument_words="A file of class names, one per line, or the names.",
    value_type=TEXT_FILE,
    reads="path",
    default_words="ImageNet-1k",
    help_position=("Data", 50),
    in_brief=True,
)
TEMPLATES = Opt(
    "Sentences with {} for the class name, one per line. The mean of their embeddings is the embedding of the class.",
    "FILE",
    argument_words="A file of sentences with {} for the class name, or the sentences.",
    value_type=TEXT_FILE,
    reads="path",
    default_words="open_clip's seven",
    help_position=("Data", 60),
)
TRIGGER = replace(
    A_TRIGGER,
    help="A trigger that you suspect, by its spec or file. A spec such as patch:size=0.07,place=corner, or a file of 'clipclean audit "
    "--save-triggers'. 'clipclean triggers list' shows the families. Repeatable.",
    argument_words="Triggers that you suspect, as specs or files; one, or several.",
    is_several=True,
)
TARGET = Opt(
    "The class that the triggers lead to.",
    "CLASS",
    default_words="that of a found trigger, else whichever they lead to",
    help_position=("Search", 70),
    in_brief=True,
)
POLICY_FILE = Opt(
    "A policy file: thresholds, severities and suppressions of the verdict. Its thresholds override the "
    "recipe's and --set.",
    "FILE",
    reads="path",
    python_attribute="suppressions",
    default_words="none",
    help_position=("Verdict", 10),
)
IGNORE = Opt(
    "Set the findings of a rule aside, such as CC031; the report says so. What shows how far to trust a verdict cannot be. "
    "Repeatable; a policy file does the same, with a reason.",
    "CODE",
    is_several=True,
    help_position=("Verdict", 20),
)
OVERRIDES = Opt(
    "Change one value of the recipe, as in train.epochs=3. The report then says validated: false. Repeatable.",
    "KEY=VALUE",
    argument_words="Values of the recipe, as {'train.epochs': 3} or ['train.epochs=3'].",
    is_several=True,
    help_position=("Cleaning", 20),
)
KEEP_FAILED = Opt(
    "Write the weights even if they fail. Their audit failed, or they cost more accuracy than allowed; they may hold the backdoor.",
    help_position=("Verdict", 70),
    in_brief=True,
)
OUT = Opt(
    "Folder to write into. It must be empty, unless --force is given.",
    "DIR",
    value_type=click.Path(readable=False, path_type=Path),  # what else is there is told with what it is read as
    writes="folder",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)
FORCE = Opt("Overwrite files that clipclean wrote before. Their contents are lost.", help_position=("Output", 200))
LABEL = Opt(
    "Add a label to the reports and records, such as commit=0a1b2c. Repeatable.",
    "KEY=VALUE",
    argument_words="Names and values for the reports and records, such as {'commit': '0a1b2c'}.",
    value_type=convert_type(label),
    is_several=True,
    gather=labels,
    help_position=("Output", 190),
)
SEED = Opt(
    "Seed of every random choice: the same seed, data and machine give the same result.",
    "N",
    value_type=click.IntRange(0, 2**63 - 1),
    help_position=("Running", 10),
)
DEVICE = Opt(
    "Device to compute on; auto uses the first GPU if there is one. A GPU that is not there is an error.",
    "auto|cpu|cuda[:N]",
    argument_words="auto, cpu, cuda or cuda:N; auto uses the first GPU if there is one.",
    value_type=convert_type(device),
    help_position=("Running", 20),
)
MAX_MINUTES = Opt(
    "End after N minutes. The report has the results so far, if there are any; the verdict is inconclusive if the rest could "
    "change it.",
    "N",
    value_type=Finite(min=0, min_open=True),
    default_words="none",
    help_position=("Running", 30),
    in_brief=True,
)
STEPS = Opt("Steps of planting.", "N", value_type=click.INT, default_words="300", help_position=("Cleaning", 80))
PLANTING_WALK = Opt(
    "How far planting can go, in sizes of the weights, like train.walk of a recipe.",
    "N",
    value_type=click.FLOAT,
    default_words="2.5",
    help_position=("Cleaning", 90),
)
PLANTING_BATCH = Opt(
    "Pairs in a step.", "N", value_type=click.INT, default_words="256", help_position=("Cleaning", 100)
)
PROGRESS_FUNCTION = Opt(
    argument_words="Called with each stage, steps done and steps in all.", python_attribute="__call__"
)
