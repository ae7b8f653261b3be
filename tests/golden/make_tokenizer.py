#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: a small byte-level BPE in both file forms, with what the
tokenizers library (0.23.3) makes of random texts and ids.

usage: make_tokenizer.py          (needs the packages tokenizers; writes beside this script)
"""

import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "oracle"))
from tokenizer import Texts  # noqa: E402

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GENES = ["GATA3", "GATA4", "GATA6", "SOX2", "SOX17", "POU5F1", "NANOG", "KRT8", "KRT18", "HLA-A",
         "HLA-DRB1", "MT-CO1", "MT-ND4", "RPL13", "RPS4X", "TBXT", "EOMES", "CDX2", "VIM", "ACTB"]
WORDS = ["The", "cell", "cells", "type", "of", "this", "is", "a", "list", "genes", "human",
         "embryo", "which", "name", "it", "don't", "we're", "epiblast", "hypoblast", "amnion"]


def lines(r):
    for _ in range(400):
        yield " ".join(r.choice(GENES if r.randrange(3) else WORDS)
                       for _ in range(r.randrange(3, 30))) + r.choice((".", "?", ":\n", "\n\n"))
        yield "".join(chr(r.choice((0xE9, 0x439, 0x4E2D, 0x301, 0x20, 0x1F600)))
                      for _ in range(5))


def train(r):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.train_from_iterator(lines(r), trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False),
                          AddedToken("</think>", normalized=False),
                          AddedToken("\u00c9t\u00e9 !", normalized=False)])
    return tokenizer


def write_files(tokenizer, folder):
    """vocab.json, merges.txt and tokenizer_config.json of the same tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    added = {str(i): {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized,
                      "rstrip": t.rstrip, "single_word": t.single_word, "special": t.special}
             for i, t in sorted(tokenizer.get_added_tokens_decoder().items())}
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"add_prefix_space": False, "added_tokens_decoder": added,
         "tokenizer_class": "Qwen2Tokenizer"}, indent=1) + "\n")


def main():
    out = HERE / "tokenizer"
    out.mkdir(exist_ok=True)
    tokenizer = train(random.Random(7))
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    write_files(tokenizer, out / "files")

    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = Texts(added, seed=11)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    cases = []
    for _ in range(130):
        text = texts.text()
        cases.append({"text": text, "ids": tokenizer.encode(text).ids})
    for _ in range(50):
        ids = [texts.random.randrange(size + 5) for _ in range(texts.random.randrange(12))]
        cases.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                      "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True)})
    (out / "cases.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases))


if __name__ == "__main__":
    main()
