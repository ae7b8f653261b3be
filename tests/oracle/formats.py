#!/usr/bin/env python3
"""Compares the genes that emcell lists for each cell of a 10x .h5 file, a 10x matrix folder or a
loom file with a ranking made here from scanpy's reading of it (of h5py's and scipy's, where scanpy
is not installed or does not read the file).

usage: formats.py EMCELL_BINARY FILE[@GENOME]...      FILE may be made:loom, written on the spot

Genes of one symbol are added up; ties are broken by the bytes of the symbol; zeros are not listed;
mitochondrial, cytosolic ribosomal genes, MALAT1 and NEAT1 are left out, as the embryo profile says.
Ends with 0 when every cell of every file agrees, 1 otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings

import h5py
import numpy
import pandas
import scipy.io
import scipy.sparse

from cells import MORE_RIBOSOMAL, N_GENES, RIBOSOMAL, kept

warnings.simplefilter("ignore")
try:
    import scanpy
except ImportError:
    scanpy = None


def text(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def read_loom(path):
    with h5py.File(path) as file:
        matrix = scipy.sparse.csr_matrix(file["matrix"][:].T)
        names = text(file["row_attrs/Gene"][:])
        key = next((k for k in ("CellID", "obs_names") if k in file["col_attrs"]), None)
        cells = text(file["col_attrs"][key][:]) if key else [str(i) for i in range(matrix.shape[0])]
    return matrix, cells, names


def read_h5(path, genome):
    if scanpy:
        data = scanpy.read_10x_h5(path, genome=genome)
        return data.X, list(data.obs_names), list(data.var_names)
    with h5py.File(path) as file:
        if "matrix" in file:
            group, features = file["matrix"], file["matrix/features"]
            names, types = text(features["name"][:]), text(features["feature_type"][:])
        else:
            group = file[genome or next(iter(file))]
            names = text(group["gene_names"][:])
            types = ["Gene Expression"] * len(names)
        shape = tuple(group["shape"][:])[::-1]
        matrix = scipy.sparse.csr_matrix(
            (group["data"][:], group["indices"][:], group["indptr"][:]), shape=shape)
        cells = text(group["barcodes"][:])
    columns = [i for i, kind in enumerate(types) if kind == "Gene Expression"]
    return matrix[:, columns], cells, [names[i] for i in columns]


def read_mtx(path):
    """By scipy and pandas: scanpy reads only folders that are named as Cell Ranger names them."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)

    def find(*stems):
        for stem in stems:
            for ending in (".gz", ""):
                name = os.path.join(folder, stem + ending)
                if os.path.exists(name):
                    return name
        raise FileNotFoundError(f"{folder}: none of {stems}")

    matrix = scipy.io.mmread(find("matrix.mtx")).T.tocsr()
    cells = list(pandas.read_csv(find("barcodes.tsv"), header=None, sep="\t")[0])
    features = pandas.read_csv(find("features.tsv", "genes.tsv"), header=None, sep="\t")
    names = list(features[1])
    if features.shape[1] < 3:
        return matrix, cells, names
    columns = [i for i, kind in enumerate(features[2]) if kind == "Gene Expression"]
    return matrix[:, columns], cells, [names[i] for i in columns]


def make_loom(folder):
    """As loompy lays one out: 64 x 64 chunks, symbols of which some repeat, names of cells."""
    path, random = os.path.join(folder, "made.loom"), numpy.random.default_rng(7)
    with h5py.File(path, "w") as file:
        counts = random.poisson(0.8, (300, 500)) * random.integers(0, 9, (300, 500))
        file.create_dataset("matrix", data=counts.astype("f4"), chunks=(64, 64), compression="gzip")
        names = [f"GENE{i % 290}" for i in range(300)]
        file.create_dataset("row_attrs/Gene", data=names, dtype=h5py.string_dtype())
        file.create_dataset("col_attrs/CellID", data=[f"made:{i}x" for i in range(500)],
                            dtype=h5py.string_dtype())
        file.create_group("layers")
        file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
    return path


def read(path, genome):
    if path.endswith(".loom"):
        return read_loom(path)
    if path.endswith(".h5"):
        return read_h5(path, genome)
    return read_mtx(path)


def summed(matrix, names):
    """The matrix with one column for each name."""
    unique = list(dict.fromkeys(names))
    column = {name: i for i, name in enumerate(unique)}
    add = scipy.sparse.csr_matrix(
        (numpy.ones(len(names)), (numpy.arange(len(names)), [column[name] for name in names])),
        shape=(len(names), len(unique)))
    return scipy.sparse.csr_matrix(matrix, dtype=numpy.float64) @ add, unique


def compare_cell(path, cell, got, values):
    """`got` lists what `values` ranks, ribosomal proteins left out."""
    ranked = sorted(values, key=lambda name: (-values[name], name.encode()))
    i = 0
    for name in ranked:
        if i == N_GENES:
            break
        if i < len(got) and got[i] == name:
            if RIBOSOMAL.match(name):
                print(f"{path}: {cell}: lists {name}, a ribosomal protein")
                return False
            i += 1
        elif not (RIBOSOMAL.match(name) or name in MORE_RIBOSOMAL):
            print(f"{path}: {cell}: place {i} is {got[i] if i < len(got) else 'empty'}, "
                  f"wanted {name}")
            return False
    if i != len(got):
        print(f"{path}: {cell}: lists genes that the ranking does not have")
    return i == len(got)


def compare(binary, argument, folder):
    path, _, genome = argument.partition("@")
    if path == "made:loom":
        path = make_loom(folder)
    matrix, cells, names = read(path, genome or None)
    matrix, names = summed(matrix, names)
    command = [binary, "prompt", "--quiet", "--all", "--jsonl", "--keep-gene-names",
               "--min-gene-match", "0", "--layer", "X", "--input", path]
    if genome:
        command += ["--genome", genome]
    lines = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
    if len(lines) != len(cells):
        print(f"{path}: {len(lines)} prompts for {len(cells)} cells")
        return False
    n_genes = 0
    for row, line in enumerate(lines):
        prompt = json.loads(line)
        if prompt["cell_id"] != cells[row]:
            print(f"{path}: row {row} is {prompt['cell_id']}, wanted {cells[row]}")
            return False
        cell = matrix[row]
        values = {names[c]: v for c, v in zip(cell.indices, cell.data) if v > 0 and kept(names[c])}
        if not compare_cell(path, cells[row], prompt["genes"], values):
            return False
        n_genes += len(prompt["genes"])
    print(f"{argument}: {len(cells)} cells with {n_genes} listed genes agree")
    return True


def main():
    if len(sys.argv) < 3:
        print(__doc__.strip())
        return 2
    with tempfile.TemporaryDirectory() as folder:
        agree = [compare(sys.argv[1], path, folder) for path in sys.argv[2:]]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
