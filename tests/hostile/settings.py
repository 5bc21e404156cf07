"""Recipes, policies, configurations, reports and lists that attack whoever reads them.

``CASES`` maps a name to what writes the file, and to words that the refusal must contain; the word before the colon says
which reader it is for. What a user wrote himself is refused with exit code 2, and the rest with 3.
"""

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import tiny
from hostile.checkpoints import Case, entry, named, raw, safetensors

from clipclean import data, model, report
from clipclean.attack import trigger_files
from clipclean.cli import config_file
from clipclean.config import policy, recipe
from clipclean.export import records

READERS: dict[str, Callable[[Path], object]] = {
    "recipe": recipe.load,
    "policy": policy.load,
    "config": config_file.configured,
    "toml": config_file.configured,
    "arch": lambda path: model.resolve({}, arch=str(path), config=None, script_quick_gelu=None),
    "trigger": trigger_files.load,
    "classes": data.read_classes,
    "templates": data.read_templates,
    "sums": lambda path: records.parse(path.read_bytes()),
    "report": report.read,
}
SUFFIXES = dict.fromkeys(("config", "recipe", "policy"), ".yaml")
SUFFIXES |= {"toml": ".toml", "arch": ".json", "report": ".json", "trigger": trigger_files.TRIGGER_SUFFIX}


def place(folder: Path, name: str) -> Path:
    """Where a case is written: some readers go by the suffix."""
    return folder / f"settings{SUFFIXES.get(name.partition(':')[0], '.txt')}"


def laughs(levels: int = 9) -> bytes:
    """306 bytes that are 9**9 values once their aliases are followed."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def changed(section: str, **values: object) -> bytes:
    """A model config that is honest but for these values."""
    return json.dumps(tiny.TINY_VIT | {section: tiny.TINY_VIT[section] | values}).encode()


YAML = {
    "a billion laughs": (laughs(), "anchors and aliases"),
    "an alias to itself": (b"a: &a [*a]\n", "anchors and aliases"),
    "a tag that calls": (b"a: !!python/object/apply:os.system ['touch pwned']\n", "tags"),
    "a tag that imports": (b"a: !!python/name:os.system\n", "tags"),
    "a merge of keys": (b"a: &a {b: 1}\nc: {<<: *a}\n", "anchors and aliases"),
    "nested 10,000 deep": (b"[" * 10_000 + b"]" * 10_000, "levels deep"),
    "nested 10,000 deep by dashes": (b"- " * 10_000 + b"x", "levels deep"),
    "a key twice": (b"name: a\nname: b\n", "given twice"),
    "two documents": (b"a: 1\n---\nb: 2\n", "single document"),
    "2 MB": (b"a: " + b"x" * 2_000_000, "more than 1,000,000 bytes"),
    "not UTF-8": (b"\xff\xfe\x00a", "not UTF-8"),
    "control characters": (b"a: \x1b[2J\n", "control character"),
    "a key that drives a terminal": (b'"\\e[2J": 1\n', r"x1b\[2J"),
    "a mapping as a key": (b"{a: 1}: 2\n", "a key must be a word"),
    "a number of 1,000 digits": (b"version: " + b"9" * 1000, "version: Infinity should be 1"),
}
TOML = {
    "nested 100,000 deep": (b"clipclean = " + b"[" * 100_000, "exit 2.*not valid TOML"),
    "a key twice": (b"[tool.clipclean]\nseed = 1\nseed = 2\n", "exit 2.*not valid TOML"),
    "no table but a list": (b"[[tool.clipclean]]\n", "exit 2.*holds no settings"),
    "not UTF-8": (b"\xff\xfe\x00", "exit 2.*not UTF-8"),
    "2 MB": (b"#" * 2_000_000, "exit 2.*more than 1,000,000 bytes"),
}
JSON = {
    "half an object": (b"{", "exit 2.*not valid JSON"),
    "a list": (b"[1]", "exit 2.*not an object"),
    "no towers": (b'{"embed_dim": 3}', "exit 2.*vision_cfg, text_cfg"),
    "a key twice": (b'{"embed_dim": 1, "embed_dim": 2}', "twice"),
    "nested 100,000 deep": (b'{"a":' * 100_000, "exit 2.*(nested too deeply|not valid JSON)"),
    "a number of 5,000 digits": (b'{"embed_dim": ' + b"9" * 5000 + b"}", "exit 2.*not valid JSON"),
    "NaN": (json.dumps(tiny.TINY_VIT | {"embed_dim": float("nan")}).encode(), "exit 2.*NaN"),
    "2 MB": (b'{"a": "' + b"x" * 2_000_000 + b'"}', "exit 2.*no honest one"),
    "a million layers": (changed("vision_cfg", layers=10**6), "exit 3.*layers"),
    "a negative width": (changed("text_cfg", width=-64), "exit 3.*width"),
    **{
        f"{key} of {value!r}": (changed(section, **{key: value}), f"exit 3.*{key} = ")
        for section, key, values in (
            ("text_cfg", "vocab_size", ([49408], "49408")),
            ("text_cfg", "heads", (1.0, 0.5)),
            ("vision_cfg", "head_width", (1e-300, 1e300, -1)),
        )
        for value in values
    },
    "a picture of 10**9 pixels a side": (changed("vision_cfg", image_size=10**9), "exit 3.*image_size"),
    "10**12 words": (changed("text_cfg", vocab_size=10**12), "exit 3.*vocab_size"),
    "a timm tower": (changed("vision_cfg", timm_model_name="evil"), "exit 3.*native towers"),
    "a tower of the hub": (changed("text_cfg", hf_model_name="evil/model"), "exit 3.*native towers"),
    "code of the hub": (b'{"model_type": "clip", "auto_map": {"AutoModel": "x"}, "text_config": 1}', "exit 3"),
}
A = "a" * 64
SUMS = {
    "nothing": b"",
    "no text": b"\x00\xff",
    "half a digest": f"{A}  a\n{A[:-1]}  b\n".encode(),
    "a name twice": f"{A}  a\n{'b' * 64}  a\n".encode(),
    **{f"the name {name}": f"{A}  {name}\n".encode() for name in ("../a", "/etc/passwd", "x/../../a")},
    "a second spelling of a name": f"{A}  ./a\n".encode(),
    "a name that drives a terminal": f"{A}  a\x1b[2J\n".encode(),
    "a megabyte": b" " * (2**20 + 1),
}
REPORTS = {
    "nothing": b"",
    "half an object": b"{",
    "NaN": b'{"a": NaN}',
    "not UTF-8": b"\xff\xfe\x00",
    "nested 100,000 deep": b"[" * 100_000,
    "nested 40 deep": b"[" * 40 + b"]" * 40,
    "a number of 5,000 digits": b"1" * 5000,
}
FEW = {"nothing": b"", "a comment alone": b"# only\n", "one name": b"cat\n"}
FORMS = ("a photo", "{} and {}", "{0.__class__}", "a {} {x}", "a {{}}", "a {} and {c}", "a {!r:>99}")


OPTIONS = ("a number of 1,000 digits", "a key that drives a terminal")  # judged with the command's options
CASES: dict[str, Case] = {
    **{
        f"{kind}: {name}": raw(content, f"exit 2(.|\n)*({words})")
        for kind in ("recipe", "policy", "config")
        for name, (content, words) in YAML.items()
        if kind != "config" or name not in OPTIONS
    },
    **named("toml", raw, TOML),
    "config: a folder": Case(Path.mkdir, "exit 2"),
    "config: a named pipe": Case(os.mkfifo, "exit 2"),
    **named("arch", raw, JSON),
    "recipe: a folder": Case(Path.mkdir, "exit 2"),
    "recipe: a named pipe": Case(os.mkfifo, "exit 2.*folder or a device"),
    "policy: a named pipe": Case(os.mkfifo, "exit 2"),
    "arch: a named pipe": Case(os.mkfifo, "exit 2.*a pipe"),
    "trigger: no trigger": raw(safetensors({"w": entry()}), "exit 3"),
    "trigger: a header of 2**60 bytes": raw(struct.pack("<Q", 2**60) + b"{}", "exit 3"),
    "trigger: a pickle": raw(b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.", "exit 3"),
    "trigger: a named pipe": Case(os.mkfifo, "exit 3.*not a regular file"),
    "classes: not UTF-8": raw(b"\xff\xfe\x00", "exit 3.*not UTF-8"),
    "classes: 100 MB": raw(lambda: b"x\n" * 50_000_000, "exit 3.*more than 10,000,000 bytes"),
    "classes: 60,000 names": raw("".join(f"class {n}\n" for n in range(60_000)).encode(), "exit 2.*60,000"),
    "classes: a named pipe": Case(os.mkfifo, "exit 3.*not a regular file"),
    "classes: a name twice once its control characters are gone": raw(b"dog\x1b\ndog\n", "exit 2.*more than once"),
    "classes: two names twice": raw(b"cat\ndog\ncat\ndog\nbird\n", "exit 2.*'cat', 'dog'"),
    **{f"classes: {kind}": raw(content, "exit 2.*settings.txt") for kind, content in FEW.items()},
    **{f"sums: {kind}": raw(content, "exit 3") for kind, content in SUMS.items()},
    **{f"report: {kind}": raw(content, "exit 3.*settings.json") for kind, content in REPORTS.items()},
    "report: missing": Case(lambda path: None, "exit 3.*settings.json"),
    "report: a folder": Case(Path.mkdir, "exit 3.*settings.json"),
    "report: 32 MB and a byte": Case(
        lambda path: path.touch() or os.truncate(path, report.MAX_REPORT_BYTES + 1), "exit 3.*MiB"
    ),
    **{
        f"templates: {form}": raw(
            f"a photo of a {{}}.\n{form}\n".encode(),
            f"exit 2.*one {{}} where(.|\n)*{re.escape(form.replace('{c}', '{}'))}",
        )
        for form in FORMS
    },
    "templates: nothing": raw(b"", "exit 2.*settings.txt"),
    "templates: not UTF-8": raw(b"\xff\xfe\x00", "exit 3.*not UTF-8"),
    "templates: a format that looks inside": raw(b"a {.__class__.__mro__}.\n", "exit 2.*a template is a line with one"),
    "templates: a format of 10**9 columns": raw(b"a {:1000000000}.\n", "exit 2.*a template is a line with one"),
}
