#!/usr/bin/env python3
"""How hard is the simulated file? Figures that need no language model, written to expected.json.

majority            the most common training label, for every cell
marker_rule         the label whose table markers stand highest: mean z-score of log counts
logistic_regression multinomial, on log-normalised counts of every gene
top_genes           the same regression, on presence and rank of the 100 genes that a prompt shows

All are fitted on training parts 0 and 1 and scored on cells.h5ad, which holds other embryos.
"""

import argparse
import json
import pathlib

import anndata
import numpy
import scipy.sparse
import sklearn
from sklearn.linear_model import LogisticRegression

import simulate

HERE = pathlib.Path(__file__).resolve().parent
HIDDEN_CLASSES = ["mitochondrial", "ribosomal", "nuclear"]  # the profile lists none of these
N_GENES = 100


def log_normalise(counts):
    """log(1 + count scaled to 10,000 a cell), CSR."""
    total = numpy.asarray(counts.sum(1)).ravel()
    scaled = (scipy.sparse.diags(1e4 / total) @ counts).tocsr()
    scaled.data = numpy.log1p(scaled.data)
    return scaled


def rank_features(counts, genome):
    """1 for the highest gene of a cell falling to 0.2 for the hundredth; other genes 0. CSR."""
    shown = [i for i in range(len(genome.symbols)) if genome.classes[i] not in HIDDEN_CLASSES]
    shown = numpy.array(sorted(shown, key=lambda i: genome.symbols[i].encode()))
    rows = []
    for row in counts:
        values = row.toarray().ravel()[shown]
        order = numpy.argsort(-values, kind="stable")[:N_GENES]
        order = order[values[order] > 0]
        features = numpy.zeros(counts.shape[1])
        features[shown[order]] = 1 - 0.8 * numpy.arange(len(order)) / N_GENES
        rows.append(scipy.sparse.csr_matrix(features))
    return scipy.sparse.vstack(rows, format="csr")


def marker_rule(train, test, genome):
    """Predicted label of each test cell; train and test are log-normalised."""
    with open(HERE / "programmes.json", encoding="utf-8") as file:
        programmes = json.load(file)
    index = {symbol: i for i, symbol in enumerate(genome.symbols)}
    mean = numpy.asarray(train.mean(0)).ravel()
    spread = numpy.sqrt(numpy.asarray(train.power(2).mean(0)).ravel() - mean**2) + 1e-3
    score = []
    for label in simulate.LABELS:
        genes = [index[symbol] for symbol in programmes[label]["table"]]
        score.append(((test[:, genes].toarray() - mean[genes]) / spread[genes]).mean(1))
    return numpy.array(simulate.LABELS)[numpy.argmax(score, 0)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=pathlib.Path, default=HERE / "cells.h5ad")
    parser.add_argument("--expected", type=pathlib.Path, default=HERE / "expected.json")
    args = parser.parse_args()

    genome = simulate.Genome()
    train = anndata.concat([simulate.simulate_train(genome, part) for part in (0, 1)])
    test = anndata.read_h5ad(args.cells)
    if set(train.obs["embryo"]) & set(test.obs["embryo"]):
        raise SystemExit(f"{args.cells}: shares embryos with the training set")
    want, gold = train.obs["label"].to_numpy(), test.obs["label"].to_numpy()

    def regression(features, held_out):
        model = LogisticRegression(C=1.0, max_iter=1000)
        return model.fit(features, want).predict(held_out)

    logs, held_out_logs = log_normalise(train.X), log_normalise(test.X)
    ranks, held_out_ranks = rank_features(train.X, genome), rank_features(test.X, genome)
    predictions = {
        "majority": numpy.full(len(gold), train.obs["label"].value_counts().index[0]),
        "marker_rule": marker_rule(logs, held_out_logs, genome),
        "logistic_regression": regression(logs, held_out_logs),
        "top_genes": regression(ranks, held_out_ranks),
    }
    figures = {f"{name}_accuracy": round(float((guess == gold).mean()), 4)
               for name, guess in predictions.items()}
    expected = json.loads(args.expected.read_text()) if args.expected.exists() else {}
    expected.update(n_cells=int(test.n_obs), n_train_cells_of_baselines=int(train.n_obs),
                    majority_label=str(predictions["majority"][0]),
                    scikit_learn=sklearn.__version__, **figures)
    args.expected.write_text(json.dumps(expected, indent=2) + "\n")
    for name, accuracy in figures.items():
        print(f"{name:30s} {accuracy:.4f}")


if __name__ == "__main__":
    main()
