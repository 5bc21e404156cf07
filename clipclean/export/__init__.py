"""Export: weights in formats that other libraries load, read back before they count, with provenance."""

# What each format is, for --help, and whose names ONNX files can have; formats.py, which takes long to import, says the rest of each.
SUMMARIES = {
    "open_clip": "open_clip's local-dir",
    "hf": "transformers' CLIPModel with processor and tokenizer",
    "onnx": "ONNX graphs",
}
PRESETS = ("transformers.js", "immich")
