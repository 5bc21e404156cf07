"""What each command and each function of the package can be asked: a frozen dataclass for each, whose fields are its options.

A field holds what a job gets. Its ``Opt`` says what it means and which values it takes: ``--help``, the pages, the keys of
``clipclean.yaml`` and the help of the functions are read off it, and where the help shows it. Nothing here imports torch.
"""

from typing import TypeVar

from clipclean.requests.commands import (
    MAX_ACCURACY_LOSS,
    Audit,
    Bench,
    Compare,
    Export,
    Inspect,
    Plant,
    References,
    Sanitize,
    Screen,
    Verify,
)
from clipclean.requests.option import HelpGroup, Opt, first_sentence, flag, name_in_messages, options
from clipclean.requests.retired import RETIRED_WORDS, replacement_words
from clipclean.requests.shared import FORCE, KEEP_FAILED, OVERRIDES, POLICY_FILE, SEED, SETS_HELP, TEXT_FILE
from clipclean.requests.values import (
    DropRule,
    Model,
    Names,
    OptionType,
    PrecisionName,
    ScreenRule,
    StrPath,
    check_path,
    check_text,
    data_paths,
)
from clipclean.schema.names import EffortName

Request = TypeVar("Request")
