#!/usr/bin/env python3
"""How is the tokenizer of the demo model made?

A byte-level BPE of the same form as Qwen3's (NFC, the same splitting expression, one digit a
token, added tokens after the vocabulary), trained on the instruction words, the labels and the
gene symbols of genes.tsv, so that words and the letters of most symbols are one token each.

    make_tokenizer.py OUTPUT_FOLDER
"""

import argparse
import csv
import json
import pathlib
import tempfile

import tokenizers
import transformers
from tokenizers import models, normalizers, pre_tokenizers, trainers

import simulate

HERE = pathlib.Path(__file__).resolve().parent
VOCABULARY = 3000

# Words of prompts, and how often each is shown to the trainer: enough to be merged whole.
TEXT = ("Task: name the cell type of one cell of a human embryo between zygote and gastrulation. "
        "The genes below are its most expressed genes, highest first.\nGenes:\nCell type:")
TEXT_WEIGHT = 20000
GENE_WEIGHT = {"housekeeping": 2000, "marker": 2000, "unlisted": 2000}  # others: once

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
              "use_regex": False}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<think>", "</think>"]  # ordinary added tokens, as in Qwen3


def training_text():
    for _ in range(TEXT_WEIGHT):
        yield from (TEXT, "user\n", "assistant\n", "system\n", "\n\n")
        yield "\n".join(simulate.LABELS)
    with open(HERE / "genes.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for _ in range(GENE_WEIGHT.get(row["class"], 1)):
                yield " " + row["symbol"]


def train_bpe():
    """The vocabulary and merges, as tokenizer.json has them."""
    bpe = tokenizers.Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, min_frequency=1, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(bpe.to_str())["model"]


def make():
    """The whole tokenizer, through the reference library as a Qwen3 folder would go through it."""
    added = [{"id": VOCABULARY + i, "content": token, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": token in SPECIAL}
             for i, token in enumerate(SPECIAL + ADDED)]
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated",
             "invert": False}
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
               "normalizer": {"type": "NFC"},
               "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]},
               "post_processor": BYTE_LEVEL, "decoder": BYTE_LEVEL, "model": train_bpe()}
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "tokenizer.json").write_text(json.dumps(content))
        return transformers.Qwen2Tokenizer.from_pretrained(
            folder, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None,
            bos_token=None, model_max_length=4096)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    args = parser.parse_args()
    tokenizer = make()
    tokenizer.save_pretrained(args.output)
    print(f"{args.output}: {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
