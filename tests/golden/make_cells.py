#!/usr/bin/env python3
"""Writes the golden files of cells/: small .h5ad files of every encoding that is read, and what
anndata makes of them and of the real files in the shared data folder.

Needs anndata >= 0.12, h5py and pandas. Usage: make_cells.py [SHARED_DATA_FOLDER]
"""
import json
import sys
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

warnings.simplefilter("ignore")
HERE = Path(__file__).resolve().parent / "cells"
GENES = ["GATA3", "T", "POU5F1", "ACTB", "MT-CO1", "RPL13A", "HLA-A", "Zürich1", "NANOG", "SOX2",
         "MALAT1", "MARCH1"]
CELLS = ["AAAC-1", "AAAG-1", "naïve cell", "D", "E,with \"quotes\"", "F", "G"]


def counts(seed, n_cells=7, n_genes=12):
    """Counts with ties; row 3 and column 9 are empty, so is the last row."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(1.5, (n_cells, n_genes)) * rng.integers(0, 3, (n_cells, n_genes))
    x[3] = 0
    x[n_cells - 1] = 0
    x[:, min(9, n_genes - 1)] = 0
    return x.astype(np.float64)


def obs_frame():
    return pd.DataFrame({
        "label": pd.Categorical(["EPI", "TE", None, "EPI", "PrE", "TE", "EPI"]),
        "embryo": np.array(["e1", "e1", "e2", "e2", "é3", "", "e4"], dtype=object),
        "day": np.array([5, 6, 7, 5, 6, 7, -1], dtype=np.int32),
        "share": np.array([0.1, 1 / 3, 2.0, 1e-7, 0.5, 100.0, np.nan], dtype=np.float32),
        "share64": np.array([0.1, 1 / 3, 2.0, 1e-7, 0.5, 1e300, -0.25]),
        "passed": np.array([True, False, True, True, False, True, False]),
        "n": pd.array([1, None, 3, 4, 5, None, 7], dtype="Int64"),
    }, index=CELLS)


OBS_TEXT = {
    "label": ["EPI", "TE", None, "EPI", "PrE", "TE", "EPI"],
    "embryo": ["e1", "e1", "e2", "e2", "é3", "", "e4"],
    "day": ["5", "6", "7", "5", "6", "7", "-1"],
    "share": ["0.1", "0.33333334", "2", "1e-07", "0.5", "100", "nan"],
    "share64": ["0.1", "0.3333333333333333", "2", "1e-07", "0.5", "1e+300", "-0.25"],
    "passed": ["True", "False", "True", "True", "False", "True", "False"],
    "n": ["1", None, "3", "4", "5", None, "7"],
}

cases = []


def case(file, x, cells, genes, describes, **options):
    """What the iterator must give: rows as dense lists of numbers."""
    x = np.asarray(x.todense() if sp.issparse(x) else x, dtype=np.float64)
    cases.append({"file": file, "cells": list(cells), "genes": list(genes), "values": x.tolist(),
                  "describes": describes, **options})


def check(file, matrix, x):
    """The reference library reads the same numbers."""
    a = ad.read_h5ad(HERE / file)
    got = matrix(a)
    got = got.toarray() if sp.issparse(got) else np.asarray(got)
    assert np.array_equal(np.nan_to_num(got.astype(np.float64)), np.nan_to_num(x)), file


def modern():
    x = counts(1)
    frame = obs_frame()
    a = ad.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=frame, var=pd.DataFrame(index=GENES))
    raw_genes = [f"R{i}" for i in range(15)]
    raw = counts(2, 7, 15)
    r = ad.AnnData(sp.csr_matrix(raw.astype(np.int32)), obs=frame,
                   var=pd.DataFrame(index=raw_genes))
    a.raw = r
    layers = {}
    makers = {
        "csr_int64": lambda y: sp.csr_matrix(y.astype(np.int64)),
        "csr_uint16": lambda y: sp.csr_matrix(y.astype(np.uint16)),
        "csr_float64": lambda y: sp.csr_matrix(y / 3),
        "csc_float32": lambda y: sp.csc_matrix(y.astype(np.float32)),
        "csc_int32": lambda y: sp.csc_matrix(y.astype(np.int32)),
        "dense_float32": lambda y: (y / 7).astype(np.float32),
        "dense_float64": lambda y: y / 7,
        "dense_int8": lambda y: y.astype(np.int8),
        "dense_uint32": lambda y: y.astype(np.uint32) * 16777217,  # 2^24 + 1 must stay exact
    }
    for i, (name, make) in enumerate(makers.items()):
        a.layers[name] = make(counts(10 + i))
        m = a.layers[name]
        layers[name] = (m.toarray() if sp.issparse(m) else m).astype(np.float64)
    a.write_h5ad(HERE / "modern.h5ad", compression="gzip")
    check("modern.h5ad", lambda b: b.X, x)
    case("modern.h5ad", x, CELLS, GENES, "X (csr, float32)", obs=OBS_TEXT)
    check("modern.h5ad", lambda b: b.raw.X, raw)
    case("modern.h5ad", raw, CELLS, raw_genes, "raw/X (csr, int32)", layer="raw")
    for name, y in layers.items():
        check("modern.h5ad", lambda b, n=name: b.layers[n], y)
        kind, dtype = name.split("_")
        case("modern.h5ad", y, CELLS, GENES, f"layers/{name} ({kind}, {dtype})", layer=name)


def csc_raw_dense():
    """X as CSC, raw dense, names that may be missing: the encoding of newer anndata."""
    x, raw = counts(3), counts(4)
    ad.settings.allow_write_nullable_strings = True
    obs = pd.DataFrame({"embryo": pd.array(["e1", None, "e2", "e2", "e3", None, "é"],
                                           dtype="string")},
                       index=pd.Index(pd.array(CELLS, dtype="string")))
    var = pd.DataFrame(index=pd.Index(pd.array(GENES, dtype="string")))
    a = ad.AnnData(sp.csc_matrix(x), obs=obs, var=var)
    a.raw = ad.AnnData(raw.astype(np.float32), obs=obs, var=var)
    a.write_h5ad(HERE / "nullable.h5ad")
    with h5py.File(HERE / "nullable.h5ad") as f:
        assert f["var/_index"].attrs["encoding-type"] == "nullable-string-array"
        assert f["X"].attrs["encoding-type"] == "csc_matrix"
    case("nullable.h5ad", x, CELLS, GENES, "X (csc, float64)",
         obs={"embryo": ["e1", None, "e2", "e2", "e3", None, "é"]})
    case("nullable.h5ad", raw, CELLS, GENES, "raw/X (dense, float32)", layer="raw")


def ensembl():
    """Ensembl index; symbols as a category with a missing one and two of one name."""
    x = counts(5)
    ids = [f"ENSG{i:011d}" for i in range(11)] + ["ERCC-00002"]
    symbols = ["GATA3", "TBXT", "POU5F1", "POU5F1", None, "SOX2", "NANOG", "A1BG", "A2M", "KLF4",
               "KLF17", "SOX17"]
    var = pd.DataFrame({"feature_biotype": pd.Categorical(["gene"] * 12),
                        "Feature_Name": pd.Categorical(symbols),
                        "plain": [f"P{i}" for i in range(12)]}, index=ids)
    a = ad.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=pd.DataFrame(index=CELLS), var=var)
    # raw without columns of its own: those of var serve, as the genes are the same.
    a.raw = ad.AnnData(sp.csr_matrix(2 * x), obs=a.obs, var=pd.DataFrame(index=ids))
    a.write_h5ad(HERE / "ensembl.h5ad", compression="gzip")
    names = [s if s else i for s, i in zip(symbols, ids)]
    summed = x.copy()
    summed[:, 2] += summed[:, 3]
    summed[:, 3] = 0
    case("ensembl.h5ad", summed, CELLS, names, "var column Feature_Name, as the index holds Ensembl",
         ids=ids)
    case("ensembl.h5ad", 2 * summed, CELLS, names, "names from var column Feature_Name, as",
         ids=ids, layer="raw")
    case("ensembl.h5ad", 2 * x, CELLS, var["plain"], "names from var column plain", ids=ids,
         layer="raw", gene_symbols="plain")
    case("ensembl.h5ad", x, CELLS, ids, "the index of var", gene_symbols="index")
    case("ensembl.h5ad", x, CELLS, var["plain"], "var column plain", gene_symbols="plain", ids=ids)


def old():
    """As anndata 0.7 wrote, and the sparse attributes of before."""
    x, y = counts(6), counts(7)
    text = h5py.string_dtype()
    with h5py.File(HERE / "old.h5ad", "w") as f:
        def frame(name, index_name, index, columns):
            g = f.create_group(name)
            g.attrs["_index"] = index_name
            g.attrs["encoding-type"] = "dataframe"
            g.attrs["encoding-version"] = "0.1.0"
            g.attrs.create("column-order", list(columns), dtype=text)
            g.create_dataset(index_name, data=np.array(index, dtype=object), dtype=text)
            return g

        obs = frame("obs", "index", CELLS, ["label"])
        categories = obs.create_group("__categories").create_dataset(
            "label", data=np.array(["EPI", "PrE", "TE"], dtype=object), dtype=text)
        codes = obs.create_dataset("label", data=np.array([0, 2, -1, 0, 1, 2, 0], dtype=np.int8))
        codes.attrs["categories"] = categories.ref
        # Symbols of fixed length, padded with NULs.
        var = frame("var", "gene_ids", [f"ENSG{i:011d}.{i}" for i in range(12)], ["gene_name"])
        var.create_dataset("gene_name", data=np.array([g.encode() for g in GENES], dtype="S12"))
        m = sp.csr_matrix(x)
        g = f.create_group("X")
        g.attrs["h5sparse_format"] = "csr"
        g.attrs["h5sparse_shape"] = np.array(x.shape)
        g["data"], g["indices"], g["indptr"] = m.data, m.indices, m.indptr
        layers = f.create_group("layers")
        layers["bare"] = y
        f.create_dataset("raw.X", data=y[:, :5])
        v = f.create_group("raw.var")
        v.attrs["_index"] = "index"
        write_space_padded(v, "index", ["A", "B", "CC", "D", "EEE"], 3)
    case("old.h5ad", x, CELLS, GENES, "var column gene_name, as the index holds Ensembl ids",
         obs={"label": ["EPI", "TE", None, "EPI", "PrE", "TE", "EPI"]},
         ids=[f"ENSG{i:011d}.{i}" for i in range(12)])
    case("old.h5ad", y, CELLS, GENES, "layers/bare (dense, float64)", layer="bare",
         ids=[f"ENSG{i:011d}.{i}" for i in range(12)])
    case("old.h5ad", y[:, :5], CELLS, ["A", "B", "CC", "D", "EEE"], "raw/X (dense, float64)",
         layer="raw")


def write_space_padded(group, name, values, n):
    """Text of n bytes filled up with blanks, as Fortran programs write it."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(n)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    data = np.array([v.ljust(n).encode() for v in values], dtype=f"S{n}")
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_obj_track_times(False)  # the same bytes every time
    d = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(data.shape), create)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, data, kind)


def ancient():
    """As before anndata 0.7: frames are compound datasets, categories lie in uns."""
    x = counts(20)
    text = h5py.string_dtype()
    with h5py.File(HERE / "ancient.h5ad", "w") as f:
        f["X"] = x.astype(np.float32)
        obs = np.zeros(7, dtype=[("index", "S20"), ("label", "i1"), ("n", "<i4"), ("share", "<f4")])
        obs["index"] = [c.encode() for c in CELLS]
        obs["label"] = [0, 2, -1, 0, 1, 2, 0]
        obs["n"] = range(7)
        obs["share"] = [0.5, 0.1, 0, 1, 2, 3, 4]
        f["obs"] = obs
        var = np.zeros(12, dtype=[("index", text), ("mean", "<f8")])
        var["index"] = GENES
        f["var"] = var
        f.create_dataset("uns/label_categories", data=np.array(["EPI", "PrE", "TE"], dtype=object),
                         dtype=text)
    case("ancient.h5ad", x, CELLS, GENES, "X (dense, float32)",
         obs={"label": ["EPI", "TE", None, "EPI", "PrE", "TE", "EPI"],
              "n": [str(i) for i in range(7)], "share": ["0.5", "0.1", "0", "1", "2", "3", "4"]})


def odd():
    """What is allowed and rarely met: unsorted and repeated indices, stored zeros, 64-bit and
    big-endian integers, several filters, half precision, a category as index, chunks of odd
    sizes, an index that is a plain number."""
    rng = np.random.default_rng(8)
    x = counts(8)
    text = h5py.string_dtype()
    data, indices, indptr = [], [], [0]
    for row in x:
        entries = []
        for g in np.flatnonzero(row):
            if row[g] >= 2:  # in two parts
                entries += [(g, 1.0), (g, row[g] - 1)]
            else:
                entries.append((g, row[g]))
        entries.append((rng.integers(0, 12), 0.0))
        rng.shuffle(entries)
        indices += [e[0] for e in entries]
        data += [e[1] for e in entries]
        indptr.append(len(data))
    with h5py.File(HERE / "odd.h5ad", "w") as f:
        for name, index in (("obs", CELLS), ("var", GENES)):
            g = f.create_group(name)
            g.attrs["encoding-type"] = "dataframe"
            g.attrs["encoding-version"] = "0.2.0"
            g.attrs["_index"] = "name"
            if name == "var":
                c = g.create_group("name")
                c.attrs["encoding-type"] = "categorical"
                c.create_dataset("categories", data=np.array(sorted(GENES), dtype=object),
                                 dtype=text)
                c["codes"] = np.array([sorted(GENES).index(i) for i in GENES], dtype=np.int16)
            else:
                g.create_dataset("name", data=np.array(index, dtype=object), dtype=text,
                                 chunks=(2,), compression="gzip", shuffle=True)
        g = f.create_group("X")
        g.attrs["encoding-type"] = "csr_matrix"
        g.attrs["shape"] = np.array(x.shape, dtype=">i4")
        g.create_dataset("data", data=np.array(data, dtype=">f8"), chunks=(3,), shuffle=True,
                         fletcher32=True, compression="gzip")
        g.create_dataset("indices", data=np.array(indices, dtype=">i8"), chunks=(5,))
        g.create_dataset("indptr", data=np.array(indptr, dtype=np.uint64))
        layers = f.create_group("layers")
        layers.create_dataset("chunked", data=x.astype(np.float16), chunks=(3, 5),
                              compression="gzip")
        layers.create_dataset("scaleoffset", data=x.astype(np.int32), chunks=(4, 12),
                              scaleoffset=0)
        layers.create_dataset("scaled", data=x - 1)
        holes = x.copy()
        holes[1, 2], holes[2, 3], holes[4, 0] = np.nan, np.inf, 5
        layers.create_dataset("holes", data=holes)
    case("odd.h5ad", x, CELLS, GENES, "X (csr, float64)")
    case("odd.h5ad", x, CELLS, GENES, "layers/chunked (dense, float16)", layer="chunked")
    case("odd.h5ad", x, CELLS, GENES, "layers/scaleoffset (dense, int32)",
         layer="scaleoffset")


def lzf():
    a = ad.AnnData(sp.csr_matrix(counts(9).astype(np.float32)), obs=pd.DataFrame(index=CELLS),
                   var=pd.DataFrame(index=GENES))
    a.write_h5ad(HERE / "lzf.h5ad", compression="lzf")


REAL = [
    ("yan2013/yan2013.h5ad", None, ["cell_type", "embryo"]),
    ("tyser2021_partial/tyser2021_partial.h5ad", None, ["cell_type"]),
    ("human_headneck_chetah/headneck_ref.h5ad", None, ["cell_type"]),
    ("human_liver_he2020/rna.h5ad", None, ["cell_type"]),
    ("human_liver_he2020/rna.h5ad", "raw", []),
    ("human_pancreas_scclassify/pancreas_wang.h5ad", None, ["cell_type"]),
    ("human_pancreas_scclassify/pancreas_xin.h5ad", None, ["cell_type"]),
    ("petropoulos2016_fragment/petropoulos2016_fragment.h5ad", None, ["stage", "embryo"]),
    ("formats_h5ad/anndataR_example.h5ad", None, ["leiden", "Bool", "Int"]),
    ("formats_h5ad/anndataR_example.h5ad", "csc_counts", []),
    ("formats_h5ad/anndataR_example.h5ad", "dense_counts", []),
    ("formats_h5ad/anndataR_example.h5ad", "dense_X", []),
    ("formats_h5ad/scanpy_pbmc68k_reduced.h5ad", "raw", ["bulk_labels"]),
    ("formats_h5ad/anndata_v0.5.0.h5ad", "raw", ["bulk_labels", "n_genes", "phase"]),
    ("formats_h5ad/anndata_v0.5.0.h5ad", "negative", []),
    ("formats_h5ad/scanpy_t-cells.h5ad", "raw_counts", ["cell_type"]),
    ("formats_h5ad/scp_test.h5ad", None, []),
    ("formats_h5ad/scp_anndata_test.h5ad", None, ["donor_id"]),
    ("formats_h5ad/scp_anndata_test.h5ad", "raw", []),
    ("formats_h5ad/scp_anndata_boolean_test.h5ad", None, []),
    ("formats_h5ad/cellxgene_schema_example_invalid_CL.h5ad", "index", []),
    ("formats_h5ad/cellxgene_schema_example_valid.h5ad", "index", []),
    ("formats_h5ad/zellkonverter_krumsiek11.h5ad", "negative", ["cell_type"]),
    ("formats_h5ad/anndataR_krumsiek11_augmented_sparse_v0-8.h5ad", "negative", ["cell_type"]),
    ("formats_text_loom/seurat_pbmc_raw.txt", None, []),
    ("formats_text_loom/scp/dense_expression_matrix.txt", None, []),
    ("formats_text_loom/scp/dense_matrix_10_genes_15_cells.txt", None, []),
    ("formats_text_loom/scp/dense_matrix_19_genes_1000_cells.txt", None, []),
    ("zhao_query_demo_10x/n750.demo.counts.tsv.gz", None, []),
]


def real(shared):
    out = []
    for name, layer, columns in REAL:
        path = shared / name
        options = {}
        if name.endswith((".txt", ".gz")):
            first = "," if "19_genes" in name else r"\s+"
            frame = pd.read_csv(path, sep=first, index_col=0,
                                engine="c" if first == "," else "python")
            a = ad.AnnData(sp.csr_matrix(frame.to_numpy(dtype=np.float64).T),
                           obs=pd.DataFrame(index=frame.columns.astype(str)),
                           var=pd.DataFrame(index=frame.index.astype(str)))
        else:
            a = ad.read_h5ad(path)
        var, x = a.var, a.X
        if layer == "raw":
            var, x = a.raw.var, a.raw.X
            options["layer"] = layer
        elif layer == "index":
            options["gene_symbols"] = layer
        elif layer == "negative":
            options["negative"] = True
        elif layer:
            x = a.layers[layer]
            options["layer"] = layer
        if "t-cells" in name:
            var = var.set_index(var["gene_symbols"].astype(str))
        x = sp.csr_matrix(x)
        x.eliminate_zeros()
        x.sort_indices()
        rows = [0, a.n_obs // 2, a.n_obs - 1]
        picks = []
        for r in rows:
            lo, hi = x.indptr[r], x.indptr[r + 1]
            for k in {lo, (lo + hi) // 2, hi - 1} if hi > lo else ():
                picks.append([int(r), str(var.index[x.indices[k]]), float(x.data[k])])
        out.append({"file": name, "n_cells": a.n_obs, "n_genes": len(var), "n_values": int(x.nnz),
                    "sum": float(x.astype(np.float64).sum()),
                    "rows": [[int(r), str(a.obs_names[r])] for r in rows],
                    "picks": sorted(picks),
                    "obs": {c: [None if pd.isna(a.obs[c].iloc[r]) else str(a.obs[c].iloc[r])
                                for r in rows] for c in columns}, **options})
    return out


def write(name, value):
    lines = ",\n".join(json.dumps(v, ensure_ascii=False) for v in value)
    (HERE / name).write_text("[\n" + lines + "\n]\n", encoding="utf-8")


def main():
    HERE.mkdir(exist_ok=True)
    modern()
    csc_raw_dense()
    ensembl()
    old()
    ancient()
    odd()
    lzf()
    write("expected.json", cases)
    if len(sys.argv) > 1:
        write("real.json", real(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
