#!/usr/bin/env python3
"""How is emcellbench-sim made? Simulated cells of three invented laboratories.

    make_sim.py        writes items.jsonl.gz, labels.json and manifest.json of emcellbench-sim/

Nothing here is measured; the generator of the demo (demo/simulate.py) is used with embryos of its
own seeds, so neither the demo model's training cells nor the demo's cells are among them. What is
new: three datasets, each with multipliers of every gene and a depth of its own. Embryos never cross
the split, and dataset "sim-C" is only in the test part. Half of the neighbouring cell types are
mixed more strongly than in the demo: amnion with trophoblast, the endoderms, the mesoderms.

Needs numpy, scipy, pandas, anndata and xxhash. The same bytes at every run with the same numpy.
"""

import gzip
import json
import pathlib
import sys

import numpy
import xxhash

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo"))
import simulate  # noqa: E402

OUT = HERE / "emcellbench-sim"
SEED = 20261124
N_GENES = 200            # an item lists at most so many
DATASET_SIGMA = 0.30     # log-normal multiplier of each gene in each dataset
DEPTH = {"sim-A": 1.0, "sim-B": 0.6, "sim-C": 1.4}  # of the median total count
HARD_SHARE = 0.60        # at most so much of a neighbouring programme (the demo: 0.50)
DROPPED = {"mitochondrial", "ribosomal", "nuclear"}  # classes that the profile never lists

# Embryos of each stage: (part, dataset).
LARGE = {"E1": 12, "E2": 5, "E3": 3, "E4": 2, "E5": 2, "E6": 2, "E9": 2, "E12": 2, "CS7": 2}
SMALL = {"E1": 5, "E2": 2, "E3": 1, "E4": 1, "E5": 1, "E6": 1, "E9": 1, "E12": 1, "CS7": 1}
PARTS = [("train", "sim-A", LARGE), ("train", "sim-B", LARGE), ("validation", "sim-A", SMALL),
         ("test", "sim-A", SMALL), ("test", "sim-B", SMALL), ("test", "sim-C", SMALL)]


def dataset_genome(name):
    """The genome as a laboratory sees it."""
    genome = simulate.Genome()
    seed = [SEED, sorted(DEPTH).index(name)]
    factor = numpy.random.default_rng(seed).lognormal(0.0, DATASET_SIGMA, len(genome.symbols))
    genome.base = genome.base * factor
    genome.programme = genome.programme * factor
    return genome


def item(counts, genome, keep, cell):
    """One line; genes by falling count, equal ones by rising bytes of the symbol."""
    where = numpy.flatnonzero((counts > 0) & keep)
    order = sorted(where, key=lambda i: (-counts[i], genome.symbols[i].encode()))[:N_GENES]
    return {**cell, "genes": [genome.symbols[i] for i in order],
            "values": [int(counts[i]) for i in order], "total": int(counts.sum())}


def items():
    for number, (part, dataset, embryos) in enumerate(PARTS):
        genome = dataset_genome(dataset)
        keep = numpy.array([c not in DROPPED for c in genome.classes])
        simulate.LIBRARY_MEDIAN = 8000.0 * DEPTH[dataset]
        simulate.NEIGHBOUR_SHARE = HARD_SHARE
        prefix = f"{dataset}_{part}"
        data = simulate.simulate(genome, embryos, prefix, [SEED, 100 + number])
        matrix = data.X.toarray().astype(int)
        for row, (name, obs) in enumerate(data.obs.iterrows()):
            cell = {"id": name, "label": obs["label"], "split": part, "embryo": obs["embryo"],
                    "dataset": dataset, "stage": obs["stage"]}
            yield item(matrix[row], genome, keep, cell)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def file_entry(path):
    return {"path": path.name, "hash": xxhash.xxh3_128_hexdigest(path.read_bytes())}


def main():
    profile = json.loads((HERE.parent / "annotate/profiles/embryo.json").read_text())
    labels = {key: profile[key] for key in ("labels", "groups", "ambiguous")}
    for label in labels["labels"]:
        label.pop("note", None)
    OUT.mkdir(exist_ok=True)
    write_json(OUT / "labels.json", labels)
    n = 0
    with open(OUT / "items.jsonl.gz", "wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as file:
            for line in items():
                text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
                file.write(text.encode() + b"\n")
                n += 1
    write_json(OUT / "manifest.json", {
        "format": "emcell benchmark",
        "version": 1,
        "name": "emcellbench-sim",
        "release": "1",
        "description": "Simulated cells of human embryos from zygote to gastrulation, 27 labels, "
                       "three invented laboratories. Tests machines, says nothing about biology.",
        "source": "benchmarks/make_sim.py of emcell; no cell was ever measured",
        "licence": "as emcell",
        "official": False,
        "profile": "embryo",
        "items": file_entry(OUT / "items.jsonl.gz"),
        "labels": file_entry(OUT / "labels.json"),
    })
    print(f"{OUT}: {n} items, {(OUT / 'items.jsonl.gz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
