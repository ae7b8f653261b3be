#!/usr/bin/env python3
"""Compares `emcell annotate` on the embedded demo with the reference library (transformers).

usage: demo_model.py EMCELL_BINARY [--cells N]

emcell annotates every cell of demo/cells.h5ad with demo/model and the embryo profile, full answer,
once in float32 and once in the checkpoint's bfloat16. The reference library gets the ids that
`emcell prompt` prints for N cells (default 60, spread over the file), scores every label in float32
and normalises over the label set. The prompts themselves are written a second time here, from the
file and the words of the embryo profile, with the reference library's tokenizer. Ends with 0 when
all agree, 1 with the first cells that do not, 77 when a library is missing.
"""

import argparse
import csv
import json
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import anndata
    import numpy
    import torch
    import transformers
except ImportError as error:
    print(f"NOT RUN: demo model against the reference library ({error})")
    sys.exit(77)

DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo"

# A probability p moves by at most d / 2 when every joint log-probability moves by at most d: the
# slope of a softmax is p (1 - p) <= 1/4 against what moves up and what moves down.
#
# float32 against float32: only the order of sums differs. Logits agree to 1e-6 of a range of 30,
# over at most five tokens a label: d <= 5 * 3e-5, p by 8e-5. Found over all 914 cells: 3e-6.
FLOAT32_TOLERANCE = 1e-4
# bfloat16 rounds each stored activation by at most 2^-9 of its value, some 28 times on the way (7 a
# layer, 4 layers). Added like a random walk they move the logit that decides by sqrt(28) * 2^-9,
# 1 % of its size; it leads by about 6 in a cell that can still go either way: d = 0.06, p by 0.03.
# Most cells do not stand on the fence, so the mean is far lower. Found: 0.0044, mean 0.00015.
BFLOAT16_TOLERANCE = 0.03
BFLOAT16_MEAN_TOLERANCE = 0.001

# The embryo profile in other words: what a prompt must be, whatever code writes it.
BEFORE = ("<|im_start|>user\nTask: name the cell type of one cell of a human embryo between zygote "
          "and gastrulation. The genes below are its most expressed genes, highest first.\nGenes: ")
AFTER = "\nCell type:<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
N_GENES = 100
HIDDEN = re.compile(r"MT-.*|RP[LS]\d+(A|L|X|AL|L1|Y1|Y2)?|RPLP[012]|RPSA2?|MALAT1|NEAT1")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n"
                 f"{done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def annotate(emcell, folder, dtype):
    """({cell: row of the results}, labels, {cell: probabilities}) of one run."""
    output, matrix = folder / f"{dtype}.csv", folder / f"{dtype}_probabilities.csv"
    run(emcell, "annotate", "--input", DEMO / "cells.h5ad", "--model", DEMO / "model", "--profile",
        "embryo", "--answer", "full", "--dtype", dtype, "--output", output, "--probabilities",
        matrix, "--quiet")
    with open(output, encoding="utf-8", newline="") as file:
        rows = {row["cell_id"]: row for row in csv.DictReader(file)}
    with open(matrix, encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    labels = table[0][1:]
    return rows, labels, {row[0]: [float(p) for p in row[1:]] for row in table[1:]}


def expected_prompts():
    """{cell: prompt text} of the demo file."""
    data = anndata.read_h5ad(DEMO / "cells.h5ad")
    shown = sorted((symbol.encode(), i) for i, symbol in enumerate(data.var_names)
                   if not HIDDEN.fullmatch(symbol))
    shown = numpy.array([i for _, i in shown])
    prompts = {}
    for cell, row in zip(data.obs_names, data.X):
        values = row.toarray().ravel()[shown]
        order = numpy.argsort(-values, kind="stable")[:N_GENES]
        genes = data.var_names[shown[order[values[order] > 0]]]
        prompts[cell] = BEFORE + " ".join(genes) + AFTER
    return prompts


def compare_prompts(prompts):
    """The number of cells whose text or ids emcell writes otherwise."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO / "model")
    expected = expected_prompts()
    if list(prompts) != list(expected):
        print("prompts: emcell and the file do not hold the same cells in one order")
        return 1
    faults = 0
    for cell, record in prompts.items():
        ids = tokenizer.encode(expected[cell], add_special_tokens=False)
        if record["prompt"] != expected[cell] or record["ids"] != ids:
            faults += 1
            if faults <= 5:
                print(f"prompts: {cell}: emcell {record['prompt']!r}, want {expected[cell]!r}")
    print(f"prompts: {len(prompts)} compared, {faults} differ")
    return faults


class Reference:
    """Joint log-probability of every label (its tokens, then <|im_end|>) in float32."""

    def __init__(self, labels):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(DEMO / "model",
                                                                       dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO / "model")
        answers = [tokenizer.encode(label + "<|im_end|>", add_special_tokens=False)
                   for label in labels]
        self.targets = torch.nn.utils.rnn.pad_sequence([torch.tensor(a) for a in answers],
                                                       batch_first=True)
        lengths = torch.tensor([[len(answer)] for answer in answers])
        self.counted = torch.arange(self.targets.shape[1]) < lengths

    @torch.inference_mode()
    def probabilities(self, ids):
        prompt = self.model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        cache = prompt.past_key_values
        cache.batch_repeat_interleave(len(self.targets))
        rest = self.model(input_ids=self.targets[:, :-1], past_key_values=cache).logits
        first = prompt.logits.expand(len(self.targets), -1, -1)
        scores = torch.cat([first, rest], 1).log_softmax(-1)
        scores = scores.gather(2, self.targets.unsqueeze(2)).squeeze(2)
        return (scores * self.counted).sum(1).softmax(0).tolist()


def compare(name, cells, rows, labels, ours, theirs, tolerance, mean_tolerance):
    """Prints the figures of one run; returns the number of faults."""
    faults, worst, total = 0, 0.0, 0.0
    for cell in cells:
        difference = max(abs(a - b) for a, b in zip(ours[cell], theirs[cell], strict=True))
        ranked = sorted(theirs[cell], reverse=True)
        best = labels[theirs[cell].index(ranked[0])]
        sure = ranked[0] - ranked[1] > 2 * tolerance
        worst, total = max(worst, difference), total + difference
        problem = ""
        if not difference <= tolerance:
            problem = f"probabilities differ by {difference:.4f}"
        elif sure and rows[cell]["label"] != best:
            problem = f"label {rows[cell]['label']!r}, the reference says {best!r}"
        elif rows[cell]["status"] == "ok" and \
                abs(float(rows[cell]["score"]) - max(ours[cell])) > 1e-5:
            problem = f"score {rows[cell]['score']} is not the best of its probabilities"
        if problem:
            faults += 1
            if faults <= 5:
                print(f"{name}: {cell}: {problem}")
    mean = total / len(cells)
    print(f"{name}: {len(cells)} cells, largest difference of a probability {worst:.6f} (at most "
          f"{tolerance}), mean of the largest {mean:.6f} (at most {mean_tolerance})")
    return faults + (not mean <= mean_tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("emcell", type=pathlib.Path)
    parser.add_argument("--cells", type=int, default=60)
    args = parser.parse_args()
    emcell = args.emcell.resolve()
    torch.set_num_threads(2)

    lines = run(emcell, "prompt", "--input", DEMO / "cells.h5ad", "--model", DEMO / "model",
                "--profile", "embryo", "--all", "--jsonl", "--obs-columns", "label",
                "--quiet").splitlines()
    prompts = {record["cell_id"]: record for record in map(json.loads, lines)}
    step = max(1, len(prompts) // args.cells)
    cells = list(prompts)[::step]
    faults, theirs = compare_prompts(prompts), None
    with tempfile.TemporaryDirectory() as folder:
        for dtype, tolerance, mean_tolerance in (
                ("float32", FLOAT32_TOLERANCE, FLOAT32_TOLERANCE / 10),
                ("bfloat16", BFLOAT16_TOLERANCE, BFLOAT16_MEAN_TOLERANCE)):
            rows, labels, ours = annotate(emcell, pathlib.Path(folder), dtype)
            if list(rows) != list(prompts) or list(ours) != list(prompts):
                sys.exit(f"{dtype}: results and prompts do not hold the same cells in one order")
            if theirs is None:
                reference = Reference(labels)
                theirs = {cell: reference.probabilities(prompts[cell]["ids"]) for cell in cells}
            faults += compare(dtype, cells, rows, labels, ours, theirs, tolerance, mean_tolerance)
            right = sum(rows[cell]["label"] == prompts[cell]["obs"]["label"] for cell in prompts)
            expected = json.loads((DEMO / "expected.json").read_text())["model_accuracy"]
            print(f"{dtype}: accuracy {right / len(prompts):.4f}, written down {expected:.4f}")
            if abs(right / len(prompts) - expected) > 0.01:
                print(f"{dtype}: accuracy is not what demo/expected.json says")
                faults += 1
    print("agreed" if faults == 0 else f"{faults} faults")
    return faults != 0


if __name__ == "__main__":
    sys.exit(main())
