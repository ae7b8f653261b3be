#!/usr/bin/env python3
"""How are the simulated embryos of this demo made?

Nothing here is measured. A gene list (genes.tsv) and one programme a label (programmes.json) are
fixed by hand; every level, batch effect and count is drawn from the seeds below. About half of a
programme's genes are taken at random from genes that no marker table lists, so what a model learns
here says nothing about real embryos, and a rule made of known markers does not solve it.

    simulate.py heldout OUT.h5ad              the file of the demo, other embryos than any below
    simulate.py train OUT.h5ad --part K       part K of the training embryos (0, 1, 2, ...)
"""

import argparse
import csv
import json
import pathlib

import anndata
import numpy
import pandas
import scipy.sparse

HERE = pathlib.Path(__file__).resolve().parent

# One seed for what all embryos share (gene levels), one for each set of embryos.
SEED_GENES = 20261101
SEED_HELDOUT = 20261102
SEED_TRAIN = 20261103

LABELS = [
    "Zygote", "2-4 cell", "8 cell", "Morula", "Prelineage", "ICM", "Early epiblast",
    "Late epiblast", "Hypoblast", "AVE", "TE", "CTB", "STB", "EVT", "Amnion", "Primitive streak",
    "Nascent mesoderm", "Emergent mesoderm", "Advanced mesoderm", "Axial mesoderm",
    "ExE mesoderm", "DE", "YS endoderm", "HEP", "Erythroblast", "PGC", "Ectoderm",
]

# What one embryo of a stage holds: mean number of sampled cells of each label. Shares are skewed
# as in real data: trophoblast is common, germ cells and visceral endoderm are rare.
STAGES = {
    "E1": {"Zygote": 1},
    "E2": {"2-4 cell": 3},
    "E3": {"8 cell": 7},
    "E4": {"Morula": 13},
    "E5": {"Morula": 2, "Prelineage": 12, "ICM": 5, "TE": 10},
    "E6": {"Prelineage": 3, "ICM": 7, "Early epiblast": 10, "Hypoblast": 5, "TE": 20},
    "E9": {"Early epiblast": 3, "Late epiblast": 10, "Hypoblast": 8, "AVE": 4, "TE": 3, "CTB": 16,
           "STB": 9, "EVT": 4, "Amnion": 4},
    "E12": {"Late epiblast": 9, "Hypoblast": 4, "AVE": 4, "CTB": 12, "STB": 9, "EVT": 9,
            "Amnion": 7, "Primitive streak": 4, "ExE mesoderm": 5, "PGC": 2},
    "CS7": {"Late epiblast": 9, "Primitive streak": 12, "Nascent mesoderm": 12,
            "Emergent mesoderm": 12, "Advanced mesoderm": 12, "Axial mesoderm": 7,
            "ExE mesoderm": 10, "DE": 11, "YS endoderm": 10, "Hypoblast": 3, "HEP": 9,
            "Erythroblast": 8, "Amnion": 5, "PGC": 5, "Ectoderm": 9},
}

# Embryos of each stage in one set. One embryo of a cleavage stage gives few cells.
HELDOUT_EMBRYOS = {"E1": 14, "E2": 6, "E3": 3, "E4": 2, "E5": 2, "E6": 2, "E9": 2, "E12": 2,
                   "CS7": 3}
TRAIN_FACTOR = 4  # training parts hold this many times as many embryos of every stage

# Total counts a cell: log-normal, median and spread (in log units); an embryo shifts its median.
LIBRARY_MEDIAN = 8000.0
LIBRARY_SIGMA = 0.55
LIBRARY_EMBRYO_SIGMA = 0.25

# Shares of a cell's counts that the background takes, before a cell's own spread.
SHARE = {"mitochondrial": 0.08, "ribosomal": 0.22, "nuclear": 0.02, "housekeeping": 0.36,
         "marker": 0.006, "unlisted": 0.006, "other": 0.11}
SPREAD = {"mitochondrial": 0.7, "ribosomal": 0.6, "nuclear": 0.3, "housekeeping": 0.9,
          "marker": 0.9, "unlisted": 0.9, "other": 1.4}

PROGRAMME_LEVEL = 0.0080  # median share of one programme gene where its programme is fully on
PROGRAMME_SPREAD = 0.45   # log-normal spread of that level over genes
ACTIVITY_SIGMA = 0.25     # log-normal spread of a cell's whole programme
NEIGHBOUR_SHARE = 0.50    # at most this much of a neighbouring programme is on in a cell
BURST_SHAPE = 0.9         # gamma shape of a programme gene in one cell; small is bursty
NOISE_SHAPE = 4.0         # gamma shape of a background gene in one cell
BATCH_SIGMA = 0.35        # log-normal multiplier of each gene in each embryo
DROPOUT_MIDPOINT = 1.2    # expected count at which a gene is lost half of the time ...
DROPOUT_RATE = 0.5        # ... of this share of the cells that dropout can touch


class Genome:
    """Gene levels that all embryos share: names, classes, base rates, programmes."""

    def __init__(self):
        with open(HERE / "genes.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        with open(HERE / "programmes.json", encoding="utf-8") as file:
            programmes = json.load(file)
        self.symbols = [row["symbol"] for row in rows]
        self.classes = numpy.array([row["class"] for row in rows])
        index = {symbol: i for i, symbol in enumerate(self.symbols)}
        rng = numpy.random.default_rng(SEED_GENES)
        self.base = numpy.zeros(len(rows))
        for name, share in SHARE.items():
            where = self.classes == name
            level = rng.lognormal(0.0, SPREAD[name], where.sum())
            self.base[where] = share * level / level.sum()
        level = PROGRAMME_LEVEL * rng.lognormal(0.0, PROGRAMME_SPREAD, len(rows))
        self.programme = numpy.zeros((len(LABELS), len(rows)))
        for i, label in enumerate(LABELS):
            for symbol in programmes[label]["markers"] + programmes[label]["unlisted"]:
                self.programme[i, index[symbol]] = level[index[symbol]]
        family = [programmes[label]["family"] for label in LABELS]
        self.neighbours = [[j for j in range(len(LABELS)) if j != i and family[j] == family[i]]
                           for i in range(len(LABELS))]


def simulate_embryo(genome, labels, rng):
    """Counts [cells, genes] of one embryo whose cells have these label numbers."""
    n_cells, n_genes = len(labels), len(genome.symbols)
    batch = rng.lognormal(0.0, BATCH_SIGMA, n_genes)
    library = LIBRARY_MEDIAN * rng.lognormal(0.0, LIBRARY_EMBRYO_SIGMA)

    background = genome.base * rng.gamma(NOISE_SHAPE, 1 / NOISE_SHAPE, (n_cells, n_genes))
    for name in SHARE:  # a cell has more or less of a whole class: stress, quality, cycle
        where = genome.classes == name
        background[:, where] *= rng.lognormal(0.0, 0.25, (n_cells, 1))

    neighbour = numpy.array([rng.choice(genome.neighbours[label]) for label in labels])
    mixed = NEIGHBOUR_SHARE * rng.beta(1.0, 2.0, (n_cells, 1))
    programme = (1 - mixed) * genome.programme[labels] + mixed * genome.programme[neighbour]
    programme *= rng.lognormal(0.0, ACTIVITY_SIGMA, (n_cells, 1))
    programme *= rng.gamma(BURST_SHAPE, 1 / BURST_SHAPE, (n_cells, n_genes))

    rate = (background + programme) * batch
    rate *= library * rng.lognormal(0.0, LIBRARY_SIGMA, (n_cells, 1)) / rate.sum(1, keepdims=True)
    lost = DROPOUT_RATE / (1 + (rate / DROPOUT_MIDPOINT) ** 2)
    counts = rng.poisson(rate)
    counts[rng.random((n_cells, n_genes)) < lost] = 0
    return counts


def simulate(genome, embryos, prefix, seed):
    """AnnData of whole embryos; every embryo has its own batch effect and cell numbers."""
    rng = numpy.random.default_rng(seed)
    blocks, cells = [], []
    for stage, n_embryos in embryos.items():
        for number in range(1, n_embryos + 1):
            labels = []
            for label, mean in STAGES[stage].items():
                n_cells = 1 if stage == "E1" else max(1, rng.poisson(mean))
                labels += [LABELS.index(label)] * n_cells
            labels = numpy.array(labels)
            rng.shuffle(labels)
            blocks.append(scipy.sparse.csr_matrix(simulate_embryo(genome, labels, rng)))
            name = f"{prefix}_{stage}_{number:02d}"
            cells += [(f"{name}_{i:03d}", LABELS[label], name, stage)
                      for i, label in enumerate(labels)]
    obs = pandas.DataFrame(cells, columns=["cell", "label", "embryo", "stage"]).set_index("cell")
    obs.index.name = None
    for column in obs:
        obs[column] = obs[column].astype("category")
    matrix = scipy.sparse.vstack(blocks, format="csr").astype(numpy.float32)
    matrix.sort_indices()
    data = anndata.AnnData(matrix, obs=obs, var=pandas.DataFrame(index=genome.symbols))
    data.uns["simulated"] = "Simulated counts. No cell of this file was ever measured."
    return data


def simulate_heldout(genome):
    return simulate(genome, HELDOUT_EMBRYOS, "heldout", SEED_HELDOUT)


def simulate_train(genome, part):
    embryos = {stage: n * TRAIN_FACTOR for stage, n in HELDOUT_EMBRYOS.items()}
    return simulate(genome, embryos, f"train{part:02d}", [SEED_TRAIN, part])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", choices=["heldout", "train"])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--part", type=int, default=0, help="which part of the training embryos")
    args = parser.parse_args()
    genome = Genome()
    data = simulate_heldout(genome) if args.set == "heldout" else simulate_train(genome, args.part)
    data.write_h5ad(args.output, compression="gzip", compression_opts=9)
    print(f"{args.output}: {data.n_obs} simulated cells, {data.n_vars} genes, "
          f"{data.obs['embryo'].nunique()} embryos, {data.X.nnz / data.n_obs:.0f} genes a cell")


if __name__ == "__main__":
    main()
