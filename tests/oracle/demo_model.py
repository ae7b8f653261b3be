#!/usr/bin/env python3
"""Compares `emcell annotate` on the embedded demo with the reference library (transformers).

usage: demo_model.py EMCELL_BINARY [--cells N]

emcell annotates every cell of demo/cells.h5ad with demo/model and the embryo profile, full answer,
once in float32 and once in the checkpoint's bfloat16. The reference library gets the ids that
`emcell prompt` prints for N cells (default 60, spread over the file), scores every label in float32
and normalises over the label set. Ends with 0 when the two agree, 1 with the first cells that
do not, 77 when a library is missing.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
except ImportError as error:
    print(f"NOT RUN: demo model against the reference library ({error})")
    sys.exit(77)

DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo"

# A probability p moves by at most d / 2 when every joint log-probability moves by at most d
# (the slope of a softmax is p (1 - p) <= 1/4 against each of two sides).
#
# float32 against float32: logits differ by the order of sums alone, at most 1e-4 of their range
# (about 30), over at most five tokens a label: d <= 5 * 2 * 0.003.
FLOAT32_TOLERANCE = 0.015
# bfloat16 rounds each activation to 2^-9 of its value. Over 4 layers of 7 stored results the
# roundings add up like a random walk, sqrt(28) * 2^-9 = 1 % of a logit range of 30: d <= 0.3 for the
# token that decides. The mean over cells is far below that bound.
BFLOAT16_TOLERANCE = 0.15
BFLOAT16_MEAN_TOLERANCE = 0.01


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


class Reference:
    """Joint log-probability of every label (its tokens, then <|im_end|>), one plain pass each."""

    def __init__(self, labels):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(DEMO / "model",
                                                                       dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO / "model")
        self.answers = [tokenizer.encode(label + "<|im_end|>", add_special_tokens=False)
                        for label in labels]

    @torch.inference_mode()
    def probabilities(self, ids):
        width = len(ids) + max(map(len, self.answers))
        batch = torch.zeros(len(self.answers), width, dtype=torch.long)
        for row, answer in enumerate(self.answers):
            batch[row, :len(ids) + len(answer)] = torch.tensor(ids + answer)
        scores = self.model(input_ids=batch).logits[:, len(ids) - 1:].log_softmax(-1)
        joint = torch.stack([sum(scores[row, place, token] for place, token in enumerate(answer))
                             for row, answer in enumerate(self.answers)])
        return joint.softmax(0).tolist()


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
    faults, theirs = 0, None
    with tempfile.TemporaryDirectory() as folder:
        for dtype, tolerance, mean_tolerance in (
                ("float32", FLOAT32_TOLERANCE, FLOAT32_TOLERANCE),
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
