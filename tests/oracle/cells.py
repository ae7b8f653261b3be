#!/usr/bin/env python3
"""Compares the genes that emcell lists for each cell with a ranking made here from anndata's matrix.

usage: cells.py EMCELL_BINARY FILE...     FILE may end in ":raw" for its raw matrix

Values are compared as float64; ties are broken by the bytes of the symbol; zeros are not listed;
mitochondrial, cytosolic ribosomal genes, MALAT1 and NEAT1 are left out, as the embryo profile says.
Ends with 0 when every cell of every file agrees, 1 otherwise.
"""

import json
import re
import subprocess
import sys

import anndata
import numpy
import pandas
import scipy.sparse

N_GENES = 100
MITOCHONDRIAL = re.compile(r"^MT[-.]")
RIBOSOMAL = re.compile(r"^(RP[LS]\d+[AXYL]?\d*|RPLP[012]|RPSA|RPL\d+A\d?|RPS4Y\d|RPS\d+L\d?)$")
NUCLEAR = {"MALAT1", "NEAT1"}
# Paralogues of ribosomal proteins, spelt out so that the rule above stays readable.
MORE_RIBOSOMAL = {"RPL3L", "RPL7L1", "RPL10L", "RPL22L1", "RPL26L1", "RPL36AL", "RPL39L",
                  "RPS27L", "RPS4X", "RPS4Y1", "RPS4Y2", "RPS10L", "RPSA2", "RPL36A",
                  "FAU", "UBA52"}


def read(path):
    """Matrix (cells by genes), cell ids, gene names."""
    if path.endswith(":raw"):
        data = anndata.read_h5ad(path[:-4])
        return data.raw.X, list(data.obs_names), list(data.raw.var_names)
    if path.endswith(".h5ad"):
        data = anndata.read_h5ad(path)
        return data.X, list(data.obs_names), list(data.var_names)
    table = pandas.read_csv(path, sep="\t", index_col=0)
    return table.to_numpy().T, list(table.columns), list(table.index)


def kept(name):
    return not (MITOCHONDRIAL.match(name) or name in NUCLEAR)


def compare(binary, path):
    matrix, cells, names = read(path)
    matrix = scipy.sparse.csr_matrix(matrix)
    command = [binary, "prompt", "--quiet", "--all", "--jsonl", "--keep-gene-names",
               "--min-gene-match", "0", "--input", path.removesuffix(":raw")]
    if path.endswith(":raw"):
        command += ["--layer", "raw"]
    elif path.endswith(".h5ad"):
        command += ["--layer", "X"]
    lines = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
    if len(lines) != len(cells):
        print(f"{path}: {len(lines)} prompts for {len(cells)} cells")
        return False
    keep = numpy.array([kept(name) for name in names])
    order = {name: i for i, name in enumerate(sorted(names, key=lambda name: name.encode()))}
    left_out = set()
    for row, line in enumerate(lines):
        prompt = json.loads(line)
        if prompt["cell_id"] != cells[row]:
            print(f"{path}: row {row} is {prompt['cell_id']}, wanted {cells[row]}")
            return False
        begin, end = matrix.indptr[row], matrix.indptr[row + 1]
        values = {}
        for column, value in zip(matrix.indices[begin:end], matrix.data[begin:end]):
            if value != 0 and keep[column]:
                values[names[column]] = float(value)
        ranked = sorted(values, key=lambda name: (-values[name], order[name]))
        # Ribosomal genes are those that emcell leaves out of an otherwise equal list: each must
        # look like one, and no other may be missing.
        got, i, wanted = prompt["genes"], 0, []
        for name in ranked:
            if len(wanted) == N_GENES:
                break
            if i < len(got) and got[i] == name:
                wanted.append(name)
                i += 1
            elif RIBOSOMAL.match(name) or name in MORE_RIBOSOMAL:
                left_out.add(name)
            else:
                print(f"{path}: {cells[row]}: place {i} is "
                      f"{got[i] if i < len(got) else 'empty'}, wanted {name}")
                return False
        if got != wanted:
            print(f"{path}: {cells[row]}: lists genes that the ranking does not have")
            return False
        for name in got:
            if RIBOSOMAL.match(name):
                print(f"{path}: {cells[row]}: lists {name}, a ribosomal protein")
                return False
    print(f"{path}: {len(cells)} cells agree, {len(left_out)} ribosomal genes left out")
    return True


def main():
    if len(sys.argv) < 3:
        print(__doc__.strip())
        return 2
    return 0 if all([compare(sys.argv[1], path) for path in sys.argv[2:]]) else 1


if __name__ == "__main__":
    sys.exit(main())
