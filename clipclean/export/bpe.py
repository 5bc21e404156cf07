"""CLIP's byte-pair vocabulary in the files that Hugging Face tokenizers load."""

import json
from pathlib import Path

TOKENIZER_FILES = ("merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json")
START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407
SPECIAL_TOKENS = ((START_ID, START), (END_ID, END))
TOKEN_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
OPEN_CLIP_NAMES = {"<start_of_text>": START, "<end_of_text>": END}  # kept, they would be added as ids beyond the table
# open_clip's pattern of what is a word, with the other names of the special tokens.
WORD_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# open_clip cleans captions by ftfy and html.unescape, which transformers does not. These steps do what captions of the
# web need of it: entities, controls, typographic quotes and ligatures (ftfy/chardata.py).
ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&#x27;": "'", "&apos;": "'"}
LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬆ": "st", "ĳ": "ij", "Ĳ": "IJ"}
CHARACTER_CLASSES = {"[\u2018-\u201b\u02bc]": "'", "[\u201c-\u201f]": '"', "&nbsp;|\\s+": " "}
CONTROL_CHARACTERS = "[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"


def write(folder: Path, /, *, context_length: int) -> None:
    """Write the tokenizer's files into an existing folder; every one is the same for every CLIP of this context."""
    from open_clip.tokenizer import SimpleTokenizer

    open_clip_tokenizer = SimpleTokenizer()
    vocabulary = {OPEN_CLIP_NAMES.get(token, token): number for token, number in open_clip_tokenizer.encoder.items()}
    assert (vocabulary[START], vocabulary[END]) == (START_ID, END_ID)  # noqa: S101 # or open_clip ships another vocabulary
    merges = [" ".join(pair) for pair in open_clip_tokenizer.bpe_ranks]  # in the order of their ranks
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {
        **special,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): {"content": token, **TOKEN_FLAGS} for number, token in SPECIAL_TOKENS},
        "clean_up_tokenization_spaces": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": context_length,
        "processor_class": "CLIPProcessor",
        # By this name transformers 5 takes tokenizer.json as it is. By "CLIPTokenizer" it would build one anew, without
        # our cleaning steps; transformers 4 and transformers.js take the file in either case.
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    texts = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(("#version: 0.2", *merges)),
        "tokenizer.json": json.dumps(tokenizer(vocabulary, merges), ensure_ascii=False, indent=1),
        "tokenizer_config.json": json.dumps(settings, indent=2),
        "special_tokens_map.json": json.dumps(special, indent=2),
    }
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8", newline="\n")


def tokenizer(vocabulary: dict[str, int], merges: list[str], /) -> dict[str, object]:
    """``tokenizer.json``: clean, lower-case, split into words, merge bytes, frame by start and end."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **TOKEN_FLAGS} for number, token in SPECIAL_TOKENS],
        "normalizer": {"type": "Sequence", "normalizers": _cleaning()},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": WORD_PATTERN}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [END, END_ID],
            "cls": [START, START_ID],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": END,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _cleaning() -> list[dict[str, object]]:
    """Steps from a caption to lower-case text, in ftfy's order."""
    texts: list[dict[str, object]] = [
        {"type": "Replace", "pattern": {"String": old}, "content": new} for old, new in (ENTITIES | LIGATURES).items()
    ]
    classes: list[dict[str, object]] = [
        {"type": "Replace", "pattern": {"Regex": old}, "content": new} for old, new in CHARACTER_CLASSES.items()
    ]
    controls: dict[str, object] = {"type": "Replace", "pattern": {"Regex": CONTROL_CHARACTERS}, "content": ""}
    return [*texts, controls, {"type": "NFC"}, *classes, {"type": "Lowercase"}]
