#!/usr/bin/env python3
"""Which prompts is the model trained on? Those of `emcell prompt`, so they are what inference asks.

Fills a folder with trainKK.jsonl, one file a training part, and heldout.jsonl. A part's counts
are simulated, shown to emcell and thrown away.

    prepare.py EMCELL_BINARY DATA_FOLDER
"""

import argparse
import pathlib
import subprocess
import tempfile

import make_tokenizer
import simulate

HERE = pathlib.Path(__file__).resolve().parent
PARTS = 7


def write_prompts(emcell, cells, tokenizer, output, columns="label,embryo"):
    """One JSON object a cell of a file, with its text, ids and these obs columns."""
    with open(output, "wb") as file:
        subprocess.run([emcell, "prompt", "--input", cells, "--profile", "embryo", "--model",
                        tokenizer, "--all", "--jsonl", "--obs-columns", columns, "--quiet"],
                       stdout=file, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("emcell", type=pathlib.Path, help="the emcell program")
    parser.add_argument("data", type=pathlib.Path, help="folder to fill")
    parser.add_argument("--parts", type=int, default=PARTS)
    args = parser.parse_args()
    emcell = args.emcell.resolve()
    args.data.mkdir(parents=True, exist_ok=True)
    genome = simulate.Genome()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make_tokenizer.make().save_pretrained(folder / "tokenizer")
        write_prompts(emcell, HERE / "cells.h5ad", folder / "tokenizer",
                      args.data / "heldout.jsonl")
        for part in range(args.parts):
            simulate.simulate_train(genome, part).write_h5ad(folder / "cells.h5ad")
            output = args.data / f"train{part:02d}.jsonl"
            write_prompts(emcell, folder / "cells.h5ad", folder / "tokenizer", output)
            print(output, flush=True)


if __name__ == "__main__":
    main()
