"""What is no more, each with what to use instead: options, commands and values. A row stands for one version."""

from collections.abc import Sequence

RETIRED_WORDS: dict[str, str] = {
    "--witness": "leave it out, since it changed no verdict",
    "--witness-arch": "leave it out, like --witness",
    "--canaries": "--power plants four test backdoors",
    "--output": "use --report",
    "--output-dir": "use --report-dir",
    "--no-audit": "use --no-panel",
    "cache": "results are kept no longer, an interrupted audit goes on all the same",
    "--no-cache": "leave it out, since results are kept no longer",
    "--bom": "leave it out, since the in-toto statement is the record",
    "--onnx-preset": "give it to clipclean export",
    "--normalize": "give it to clipclean export",
    "--fp16": "give it to clipclean export",
    "clip-as-service": "take transformers.js and rename the graphs",
    "--all": "leave it out, since recipes list shows all of them",
    "safetensors": "write --format open_clip",
    "transformers": "write --format hf",
}


def replacement_words(arguments: Sequence[str], /) -> str:
    """What to use instead of each argument that is gone; empty where none is."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    return " ".join(f"{word} is gone: {RETIRED_WORDS[word]}." for word in dict.fromkeys(words) if word in RETIRED_WORDS)
