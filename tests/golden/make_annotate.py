#!/usr/bin/env python3
"""Makes tests/golden/annotate: a tiny random model with its tokenizer, a file of cells, and what an
independent reading of the profiles and the reference library say of them.

    make_annotate.py CHAT_TEMPLATE

Needs anndata, torch, tokenizers and transformers from PyPI. CHAT_TEMPLATE is the chat_template.jinja
of a Qwen3 checkpoint; nothing of it is kept. Seeds are fixed.

    model/        Qwen3 checkpoint and tokenizer, as save_pretrained writes them
    cells.h5ad    cells with ties, old symbols, filtered genes, few genes and none
    medians.tsv   for the profile think
    expected.json per profile and cell: prompt, ids, log-probabilities or greedy text
think.json and plain.json are written by hand.
"""

import json
import math
import os
import pathlib
import re
import sys

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import trainers

HERE = pathlib.Path(__file__).resolve().parent / "annotate"
PROFILES = HERE.parents[2] / "annotate" / "profiles"
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
THINK = "<think>\n\n</think>\n\n"

# As the file has them; T, H1FOO and ALPPL2 are previous symbols.
GENES = """ACTB GAPDH VIM KRT8 KRT18 KRT19 GATA2 GATA3 GATA4 GATA6 CDX2 TFAP2A TFAP2C SOX2 SOX17
NANOG POU5F1 T MIXL1 EOMES HLA-A HLA-DRA H1FOO ALPPL2 ZSCAN4 LEUTX TPRX1 DPPA3 DPPA5 KLF17 ISL1
GABRP CGA CGB3 ERVW-1 HBZ HBE1 GYPA PECAM1 KDR NANOS3 C1orf43 AC012345.1 LINC00261 TTR AFP APOA1
FN1 COL1A1 HAND1 MT-CO1 MT-ND1 RPL13 RPS4X RPLP0 MALAT1 NEAT1 EEF1A1 TPT1 FTL PADI6""".split()
RENAMED = {"T": "TBXT", "H1FOO": "H1-8", "ALPPL2": "ALPG"}
GROUPS = {"mitochondrial": r"MT-", "ribosomal": r"RP(L|S)\d+[AXYL]?$|RPLP[012]$|RPSA$",
          "nuclear_rna": r"(MALAT1|NEAT1)$"}


def make_cells():
    r = np.random.default_rng(20)
    counts = r.poisson(r.gamma(0.5, 4.0, (40, len(GENES)))).astype(np.float32)
    counts[5] = 0
    counts[9] = 0
    counts[9, [3, 20, 40]] = [2, 7, 2]  # too few for the built-in profiles
    counts[12] = (counts[12] > 0) * 3.0  # nothing but ties
    counts[13, GENES.index("T")] = 99
    names = [f"cell_{i:02d}" for i in range(40)]
    names[7] = 'A, "quoted" cell'
    names[8] = "Zelle \u00e4"
    data = anndata.AnnData(scipy.sparse.csr_matrix(counts), obs=pd.DataFrame(index=names),
                           var=pd.DataFrame(index=GENES))
    data.obs["label"] = pd.Categorical([None if i == 3 else f"type {i % 4}" for i in range(40)])
    data.obs["day"] = np.arange(40) / 4
    data.write_h5ad(HERE / "cells.h5ad", compression="gzip")
    medians = {g: float(m) for g, m in zip(GENES, 1 + np.arange(len(GENES)) % 7 / 2)}
    with open(HERE / "medians.tsv", "w") as file:
        file.writelines(f"{g}\t{m}\n" for g, m in medians.items() if g != "ACTB")
    return names, counts, medians


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = [(PROFILES / f"{name}.json").read_text() for name in ("embryo", "c2s", "choices")]
    tokenizer.train_from_iterator([*texts, " ".join(GENES) * 3], trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True)
                                  for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False)


def make_model(tokenizer):
    config = transformers.Qwen3Config(
        vocab_size=448, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=48, num_hidden_layers=2, tie_word_embeddings=True, bos_token_id=None,
        max_position_embeddings=2048, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"))
    model = transformers.Qwen3ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.3 * noise if weight.dim() == 1 else
                         0.5 * noise if "embed" in name else noise / weight.shape[1] ** 0.5)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")],
        do_sample=False)
    model.save_pretrained(HERE / "model")
    tokenizer.save_pretrained(HERE / "model")
    # Not read by anything, and they differ between library versions.
    for name in ("special_tokens_map.json", "chat_template.jinja"):
        (HERE / "model" / name).unlink(missing_ok=True)
    return model


def read_profile(name):
    path = PROFILES / f"{name}.json"
    if not path.exists():
        path = HERE / f"{name}.json"
    profile = json.loads(path.read_text())
    if "labels_of" in profile:
        profile["labels"] = read_profile(profile["labels_of"])["labels"]
    return profile


def rank(profile, row, medians):
    rules = profile["genes"]
    listed = []
    for gene, value in zip(GENES, row):
        symbol = RENAMED.get(gene, gene)
        if value <= 0 or value < rules["min_value"] or symbol in rules["drop_genes"]:
            continue
        if any(re.match(GROUPS[g], symbol) for g in rules["drop_groups"]):
            continue
        if rules["medians"]:
            if gene == "ACTB":
                continue
            value = float(value) / medians[gene]
        listed.append((-float(value), symbol.encode(), symbol))
    return [symbol for _, _, symbol in sorted(listed)[: rules["n_genes"]]]


def render(profile, genes, tokenizer, template):
    labels = profile.get("label_separator", ", ").join(x["label"] for x in profile["labels"])
    slots = {"{genes}": profile["genes"]["separator"].join(genes), "{labels}": labels,
             "{n_genes}": str(len(genes)), "{{": "{", "}}": "}"}
    messages = [{"role": m["role"],
                 "content": re.sub(r"\{\{|\}\}|\{[a-z_]+\}", lambda x: slots[x[0]], m["content"])}
                for m in profile["messages"]]
    thinking = {} if profile["chat"]["thinking"] != "empty-think-prefill" else {
        "enable_thinking": False}
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False,
                                         add_generation_prompt=True, **thinking)


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def plain(tokenizer):
    """The same tokenizer with added tokens off."""
    raw = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    raw.encode_special_tokens = True
    return raw


def answer_ids(profile, prompt, label, tokenizer):
    head = THINK if profile["chat"]["thinking"] == "model-emits-think" else ""
    text = profile["answer"]["prefix"] + label + profile["answer"]["suffix"]
    before = len(encode(tokenizer, prompt))
    if "<|" in label:  # data, not a token
        ids = encode(tokenizer, head) + plain(tokenizer).encode(text).ids
    else:
        ids = encode(tokenizer, prompt + head + text)[before:]
    return ids + [tokenizer.convert_tokens_to_ids(profile["answer"]["ending"])]


def log_prob(model, prompt_ids, ids):
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids + ids])).logits[0].double()
    logs = torch.log_softmax(logits[len(prompt_ids) - 1: -1], -1)
    return float(logs[torch.arange(len(ids)), torch.tensor(ids)].sum())


def greedy(model, tokenizer, ids, n):
    out = model.generate(torch.tensor([ids]), max_new_tokens=n, do_sample=False,
                         attention_mask=torch.ones(1, len(ids), dtype=torch.long))[0][len(ids):]
    return tokenizer.decode(out, skip_special_tokens=True)


def expect(profile, names, counts, medians, model, tokenizer, template):
    cells = []
    for name, row in zip(names, counts):
        genes = rank(profile, row, medians)
        cell = {"cell_id": name, "genes": genes}
        cells.append(cell)
        cell["status"] = ("empty" if not (row > 0).any() else
                          "too_few_genes" if len(genes) < profile["genes"]["min_genes"] else "ok")
        if cell["status"] == "empty":
            continue
        prompt = render(profile, genes, tokenizer, template)
        if profile["name"] == "think":  # a label with a token's text is among the candidates
            ids = mixed(tokenizer, prompt)
        else:
            ids = encode(tokenizer, prompt)
        cell["prompt"], cell["ids"] = prompt, ids
        if cell["status"] != "ok":
            continue
        if profile["decoding"]["answer"] == "generate":
            cell["raw_text"] = greedy(model, tokenizer, ids, profile["decoding"]["max_tokens"])
        elif profile["name"] in ("embryo", "think"):
            cell["log_probs"] = [round(log_prob(model, ids, answer_ids(profile, prompt, x["label"],
                                                                       tokenizer)), 6)
                                 for x in profile["labels"]]
            check(cell, profile)
    return cells


def mixed(tokenizer, text):
    """Ids of a chat whose user turn holds a token's text as data: what lies between the two real
    tokens is tokenised with added tokens off."""
    marks = [m.start() for m in re.finditer(re.escape("<|im_start|>"), text)]
    begin = marks[1] + len("<|im_start|>")
    end = text.rindex("<|im_end|>")
    return (encode(tokenizer, text[:begin]) + plain(tokenizer).encode(text[begin:end]).ids +
            encode(tokenizer, text[end:]))


def check(cell, profile):
    """The verdict, in plain arithmetic."""
    t = profile["decoding"]["temperature"]
    shifted = [x / t - max(cell["log_probs"]) / t for x in cell["log_probs"]]
    total = math.fsum(math.exp(x) for x in shifted)
    probs = [math.exp(x) / total for x in shifted]
    order = sorted(range(len(probs)), key=lambda i: (-probs[i], i))
    cell["top"] = [profile["labels"][i]["label"] for i in order[:3]]
    cell["top_prob"] = [round(probs[i], 9) for i in order[:3]]
    cell["margin"] = round(probs[order[0]] - probs[order[1]], 9)
    cell["entropy"] = round(-math.fsum(p * math.log(p) for p in probs if p > 0), 9)


def main():
    template = pathlib.Path(sys.argv[1]).read_text()
    os.makedirs(HERE / "model", exist_ok=True)
    torch.manual_seed(0)
    names, counts, medians = make_cells()
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    expected = {name: expect(read_profile(name), names, counts, medians, model, tokenizer, template)
                for name in ("embryo", "c2s", "choices", "think", "plain")}
    for name in ("c2s", "choices"):  # long prompts: a few are enough
        expected[name] = expected[name][:6]
    with open(HERE / "expected.json", "w") as file:
        json.dump(expected, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
