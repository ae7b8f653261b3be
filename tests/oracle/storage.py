#!/usr/bin/env python3
"""Writes one set of cells with anndata, h5py and zarr in many ways and compares what emcell reads.

usage: storage.py EMCELL_BINARY

HDF5 filters come from hdf5plugin; zarr stores are of format 2 and 3, folders and zip files. Genes of
each cell are ranked here from the matrix in memory; columns of obs are compared as text. Filters
and codecs that emcell does not read must be refused by name.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

import anndata
import h5py
import hdf5plugin
import numcodecs
import numpy
import pandas
import scipy.sparse
import zarr

N_CELLS, N_GENES = 257, 120


def make_cells():
    random = numpy.random.default_rng(4)
    counts = random.poisson(0.7, (N_CELLS, N_GENES)).astype(numpy.float32)
    counts[5] = 0
    stage = pandas.Categorical.from_codes(random.integers(-1, 3, N_CELLS), ["day 5", "dåy, 6", "x"])
    obs = pandas.DataFrame(
        {"stage": stage, "batch": [f"b{i % 7}" for i in range(N_CELLS)],
         "depth": random.integers(0, 1000, N_CELLS),
         "flag": pandas.array(random.integers(0, 2, N_CELLS).astype(bool), dtype="boolean")},
        index=[f"cell-{i}é" for i in range(N_CELLS)])
    obs.loc[obs.index[3], "flag"] = pandas.NA
    var = pandas.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)])
    return anndata.AnnData(scipy.sparse.csr_matrix(counts), obs=obs, var=var)


def text(value):
    return None if pandas.isna(value) else str(value)


def run(binary, path):
    return subprocess.run(
        [binary, "prompt", "--quiet", "--all", "--jsonl", "--keep-gene-names", "--layer", "X",
         "--min-gene-match", "0", "--min-genes", "1", "--n-genes", str(N_GENES),
         "--obs-columns", "stage,batch,depth,flag", "--input", path],
        capture_output=True, text=True)


def agrees(binary, cells, path, name):
    result = run(binary, path)
    if result.returncode != 0:
        print(f"{name}: {result.stderr.strip()}")
        return False
    lines = result.stdout.splitlines()
    matrix = cells.X.toarray() if scipy.sparse.issparse(cells.X) else cells.X
    if len(lines) != len(cells):
        print(f"{name}: {len(lines)} prompts for {len(cells)} cells")
        return False
    for row, line in enumerate(lines):
        got = json.loads(line)
        genes = [i for i in range(N_GENES) if matrix[row, i] != 0]
        genes.sort(key=lambda i: (-matrix[row, i], f"GENE{i}".encode()))
        wanted = {column: text(cells.obs[column].iloc[row]) for column in cells.obs.columns}
        if got["cell_id"] != cells.obs_names[row] or got["obs"] != wanted or (
                genes and got["genes"] != [f"GENE{i}" for i in genes]):
            print(f"{name}: row {row} is {line[:200]}")
            return False
    return True


def refuses(binary, path, name, words):
    result = run(binary, path)
    if result.returncode == 0 or words not in result.stderr:
        print(f"{name}: wanted a refusal with \"{words}\", got {result.returncode}: {result.stderr}")
        return False
    return True


def write_matrix(path, matrix, plugin):
    """X alone: some of the plugins cannot write text."""
    with h5py.File(path, "r+") as file:
        del file["X"]
        anndata.io.write_elem(file, "X", matrix, dataset_kwargs={
            "compression": plugin.filter_id, "compression_opts": plugin.filter_options})


def hdf5_files(cells, folder):
    """Name, path."""
    dense = cells.copy()
    dense.X = cells.X.toarray()
    by_genes = cells.copy()
    by_genes.X = cells.X.tocsc()
    plugins = {"zstd": hdf5plugin.Zstd(clevel=5), "lz4": hdf5plugin.LZ4()}
    for codec in ("lz4", "zstd", "zlib", "snappy", "blosclz", "lz4hc"):
        plugins[f"blosc {codec}"] = hdf5plugin.Blosc(cname=codec, shuffle=hdf5plugin.Blosc.SHUFFLE)
    plugins["blosc bits"] = hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.BITSHUFFLE)
    for kind, data in (("csr", cells), ("csc", by_genes), ("dense", dense)):
        for name, plugin in plugins.items():
            path = os.path.join(folder, f"{kind} {name}.h5ad")
            data.write_h5ad(path)
            write_matrix(path, data.X, plugin)
            yield f"h5ad {kind} {name}", path
        zstd = hdf5plugin.Zstd(clevel=5)
        for name, options in (("lzf", None), ("gzip", 4), (zstd.filter_id, zstd.filter_options)):
            path = os.path.join(folder, f"{kind} all {name}.h5ad")
            data.write_h5ad(path, compression=name, compression_opts=options)
            yield f"h5ad {kind} {name}", path


def zarr_store(cells, path, version, kind, **storage):
    anndata.settings.zarr_write_format = version
    data = cells.copy()
    data.X = cells.X.toarray() if kind == "dense" else getattr(cells.X, f"to{kind}")()
    data.write_zarr(path)
    group = zarr.open_group(path, mode="r+", zarr_format=version, use_consolidated=False)
    del group["X"]
    anndata.io.write_elem(group, "X", data.X, dataset_kwargs=storage)


def zarr_files(cells, folder):
    compressors = {
        2: {"none": None, "zlib": numcodecs.Zlib(), "gzip": numcodecs.GZip(),
            "zstd": numcodecs.Zstd(), "lz4": numcodecs.LZ4(),
            "blosc zstd": numcodecs.Blosc("zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
            "blosc lz4": numcodecs.Blosc("lz4"), "blosc zlib": numcodecs.Blosc("zlib")},
        3: {"none": None, "gzip": zarr.codecs.GzipCodec(), "zstd": zarr.codecs.ZstdCodec(),
            "zstd crc": [zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec()],
            "blosc": zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")}}
    for version, codecs in compressors.items():
        for kind in ("csr", "csc", "dense"):
            for name, codec in codecs.items():
                path = os.path.join(folder, f"{version} {kind} {name}.zarr")
                storage = {"compressor": codec} if version == 2 else {"compressors": codec}
                storage["chunks"] = (50, 33) if kind == "dense" else (1000,)
                zarr_store(cells, path, version, kind, **storage)
                yield f"zarr {version} {kind} {name}", path
    path = os.path.join(folder, "F.zarr")
    zarr_store(cells, path, 2, "dense", chunks=(50, 33), order="F")
    yield "zarr 2 dense F", path
    zipped = shutil.make_archive(os.path.join(folder, "F.zarr"), "zip", path)
    yield "zarr 2 zip", zipped


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip())
        return 2
    warnings.simplefilter("ignore")
    cells, binary, n, bad = make_cells(), sys.argv[1], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for files in (hdf5_files, zarr_files):
            for name, path in files(cells, folder):
                n += 1
                bad += not agrees(binary, cells, path, name)
        for name, plugin, words in (
                ("bitshuffle", hdf5plugin.Bitshuffle(), "32008 (bitshuffle)"),
                ("bzip2", hdf5plugin.BZip2(), "307 (bzip2)"),
                ("blosc2", hdf5plugin.Blosc2(), "32026 (blosc2)")):
            path = os.path.join(folder, f"{name}.h5ad")
            cells.write_h5ad(path)
            write_matrix(path, cells.X, plugin)
            n += 1
            bad += not refuses(binary, path, name, words)
        path = os.path.join(folder, "shards.zarr")
        zarr_store(cells, path, 3, "csr", chunks=(100,), shards=(1000,))
        n += 1
        bad += not refuses(binary, path, "shards", "stored in shards")
    print(f"{n} files, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
