#!/usr/bin/env python3
"""Writes results beside every .h5ad given, in each form, and reads them back with this Python's
anndata: what was in the file must be there unchanged, and the new columns must hold what the table
of the same rows says.

usage: written.py WRITE_RESULTS FILE...

Works with anndata 0.8 and later. The file is compared below anndata too: every object of the input
but those that gain members must have the same type, shape, attributes and bytes in the copy.
Ends with 0 when all agrees, 1 otherwise.
"""

import os
import subprocess
import sys
import tempfile
import warnings

import anndata
import h5py
import numpy
import pandas

try:
    import scanpy
except ImportError:
    scanpy = None  # Debian has anndata without it

warnings.simplefilter("ignore")
COLUMNS = ["label", "score", "score_low", "score_high", "margin", "entropy", "status", "reason",
           "cl_id"]
CATEGORIES = {"label", "status", "reason", "cl_id", "cluster_label"}
FORBIDDEN = {"CL:0000255", "CL:0000257", "CL:0000548"}


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stderr


# ---- below anndata ----

def raw_bytes(dataset):
    """What a dataset holds, comparable: references become the paths that they lead to."""
    value = dataset[()]
    if h5py.check_dtype(ref=dataset.dtype):
        return [dataset.file[one].name for one in numpy.atleast_1d(value)]
    if isinstance(value, numpy.ndarray):
        return value.tolist() if value.dtype.hasobject else (value.tobytes(), value.shape)
    return value if isinstance(value, (bytes, str)) else numpy.asarray(value).tobytes()


def raw_attributes(thing, leave_out=()):
    found = {}
    for name, value in thing.attrs.items():
        if name in leave_out:
            continue
        if isinstance(value, h5py.Reference):
            value = thing.file[value].name
        found[name] = value.tolist() if isinstance(value, numpy.ndarray) else value
    return found


def walk(group, place=""):
    """Every object, by its path; a group is None."""
    for name in group:
        thing = group[name]
        yield f"{place}/{name}", thing
        if isinstance(thing, h5py.Group):
            yield from walk(thing, f"{place}/{name}")


def same_below(before, after, gains):
    """All of `before` is in `after`. `gains`: what may differ in its attribute column-order."""
    with h5py.File(before, "r") as old, h5py.File(after, "r") as new:
        assert raw_attributes(old) == raw_attributes(new), "attributes of the root"
        for place, thing in walk(old):
            assert place in new, f"{place} is gone"
            other = new[place]
            assert type(other) is type(thing), place
            if place in gains and isinstance(thing, h5py.Dataset):
                names = list(thing.dtype.names)
                assert list(other.dtype.names)[:len(names)] == names, place
                for name in names:
                    assert other.dtype[name] == thing.dtype[name], f"{place}.{name}"
                    assert (other[name] == thing[name]).all() or \
                        other[name].tobytes() == thing[name].tobytes(), f"{place}.{name}"
                continue
            left_out = ("column-order",) if place in gains else ()
            assert raw_attributes(thing, left_out) == raw_attributes(other, left_out), \
                f"attributes of {place}"
            if isinstance(thing, h5py.Dataset):
                assert thing.dtype == other.dtype and thing.shape == other.shape, place
                assert thing.chunks == other.chunks and thing.compression == other.compression, \
                    f"storage of {place}"
                assert raw_bytes(thing) == raw_bytes(other), f"values of {place}"
    with open(before, "rb") as a, open(after, "rb") as b:
        head, other = a.read(9), b.read(9)
        if head[:8] == b"\x89HDF\r\n\x1a\n":
            assert head == other, "the version of the superblock was raised"


# ---- with anndata ----

def same_values(a, b, place):
    if a is None or b is None:
        assert a is b, place
    elif hasattr(a, "toarray"):
        assert type(a) is type(b), place
        assert (numpy.asarray(a.toarray()).tobytes() == numpy.asarray(b.toarray()).tobytes()), place
    elif isinstance(a, pandas.DataFrame):
        pandas.testing.assert_frame_equal(a, b, obj=place)
    elif hasattr(a, "items"):
        assert list(a) == list(b), place
        for name in a:
            same_values(a[name], b[name], f"{place}/{name}")
    elif isinstance(a, numpy.ndarray) and a.dtype.hasobject:
        assert a.tolist() == b.tolist(), place
    elif hasattr(a, "tobytes"):
        assert a.tobytes() == b.tobytes(), place
    else:
        assert repr(a) == repr(b), place


def same_above(before, after, n_added, key):
    old, new = anndata.read_h5ad(before), anndata.read_h5ad(after)
    assert list(old.obs.columns) == list(new.obs.columns)[:len(old.obs.columns)], "columns"
    pandas.testing.assert_frame_equal(old.obs, new.obs[list(old.obs.columns)])
    pandas.testing.assert_frame_equal(old.var, new.var)
    assert len(new.obs.columns) == len(old.obs.columns) + n_added, list(new.obs.columns)
    same_values(old.X, new.X, "X")
    for name in ("layers", "obsm", "varm", "obsp", "varp"):
        a, b = dict(getattr(old, name)), dict(getattr(new, name))
        b = {k: v for k, v in b.items() if not (name == "obsm" and k == key + "_probabilities")}
        same_values(a, b, name)
    assert (old.raw is None) == (new.raw is None), "raw"
    if old.raw is not None:
        same_values(old.raw.X, new.raw.X, "raw/X")
        pandas.testing.assert_frame_equal(old.raw.var, new.raw.var)
    same_values(dict(old.uns), {k: v for k, v in new.uns.items() if k != key}, "uns")
    return new


def table_of(path):
    return pandas.read_csv(path, index_col=0, keep_default_na=False,
                           na_values={c: [""] for c in COLUMNS + ["invalid_mass", "cluster_label", "cluster_score"]
                                      if c not in CATEGORIES})


def check_column(got, want, name):
    if name in CATEGORIES:
        assert str(got.dtype) == "category", f"{name}: {got.dtype}"
        got = got.astype(object).where(got.notna(), "")
        assert list(got) == list(want), name
    else:
        assert got.dtype == numpy.float32, f"{name}: {got.dtype}"
        a, b = got.to_numpy(), want.to_numpy(dtype="float64")
        assert (numpy.isnan(a) == numpy.isnan(b)).all(), f"{name}: missing values"
        # The table has six digits.
        assert numpy.allclose(a, b, rtol=1e-5, atol=0, equal_nan=True), name


def check_columns(data, table, prefix, names):
    for name in names:
        want = table[name]
        check_column(data.obs[f"{prefix}_{name}"], want, name)


def check_extras(data, table, groupby, cellxgene):
    pandas.testing.assert_series_equal(data.obs["predicted_labels"], data.obs["emcell_label"],
                                       check_names=False)
    pandas.testing.assert_series_equal(data.obs["conf_score"], data.obs["emcell_score"],
                                       check_names=False)
    if cellxgene:
        check_terms(data.obs["cell_type_ontology_term_id"], table)
    if groupby:
        pandas.testing.assert_series_equal(data.obs["majority_voting"],
                                           data.obs["emcell_cluster_label"], check_names=False)
        check_votes(data, groupby)


def check_terms(ids, table):
    assert ids.notna().all() and "CL:0000548" not in set(ids)
    want = [c if c and c not in FORBIDDEN else "unknown" for c in table["cl_id"]]
    assert list(ids) == want, "cell_type_ontology_term_id"
    assert not set(ids.cat.categories) - set(ids) - {"unknown"}, "terms that no cell has"


def check_votes(data, groupby):
    """CellTypist's rule, counted here; its ties go by the alphabet, ours by the labels' order."""
    order = list(data.obs["emcell_label"].cat.categories)
    for _, cells in data.obs.groupby(groupby, observed=True):
        votes = cells["emcell_label"].value_counts()
        votes = votes[votes > 0]
        if not len(votes):
            assert cells["emcell_cluster_label"].isna().all()
            continue
        share = votes.max() / votes.sum()
        best = min((v for v in votes.index if votes[v] == votes.max()), key=order.index)
        if share < 0.2:
            best = "Heterogeneous"
        assert set(cells["emcell_cluster_label"]) == {best}, (set(cells["emcell_cluster_label"]), best)
        assert numpy.allclose(cells["emcell_cluster_score"], share), "share"


def check_matrix(data, labels, table):
    frame = data.obsm["emcell_probabilities"]
    assert list(frame.columns) == labels, "labels of the matrix"
    assert list(frame.index) == list(data.obs_names)
    top = frame.max(axis=1)
    assert numpy.allclose(top, table["score"].astype(float), rtol=1e-5, equal_nan=True)


def check_scanpy(path, table):
    if scanpy is None:
        return
    data = scanpy.read_h5ad(path)
    data.var_names_make_unique()
    frame = scanpy.get.obs_df(data, keys=["emcell_label", "emcell_score"])
    assert list(frame["emcell_label"].astype(object).where(frame["emcell_label"].notna(), "")) == \
        list(table["label"])


def describe(path):
    """Cells, a column of clusters, whether obs is a compound, whether terms may be added."""
    data = anndata.read_h5ad(path)
    groupby = next((name for name in data.obs.columns if str(data.obs[name].dtype) == "category"
                    and data.obs[name].nunique() > 0), None)
    with h5py.File(path, "r") as file:
        return (data.n_obs, groupby, isinstance(file["obs"], h5py.Dataset),
                "cell_type_ontology_term_id" not in data.obs)


def gains_of(compound):
    return {"/obs"} if compound else {"/obs", "/obs/__categories"}


def check_file(binary, path, folder):
    n, groupby, compound, cellxgene = describe(path)
    labels_path = os.path.join(folder, "labels.txt")
    extra = ["mass"] + ([f"groupby={groupby}", "min-prop=0.2"] if groupby else [])
    table_path = os.path.join(folder, "table.csv")
    run(binary, labels_path, path, n, table_path, *extra)
    table = table_of(table_path)
    with open(labels_path, encoding="utf-8") as file:
        labels = [line.rstrip("\n").split("\t")[0] for line in file]
    names = COLUMNS + ["invalid_mass"] + (["cluster_label", "cluster_score"] if groupby else [])
    extra += ["celltypist"] + ([] if compound else ["obsm"]) + (["cellxgene"] if cellxgene else [])
    n_added = len(names) + 2 + (2 if groupby else 0) + cellxgene

    for kind in ("copy", "link"):
        out = os.path.join(folder, f"{kind}.h5ad")
        run(binary, labels_path, path, n, out, kind, *extra)
        data = same_above(path, out, n_added, "emcell")
        check_columns(data, table, "emcell", names)
        check_extras(data, table, groupby, cellxgene)
        check_scanpy(out, table)
        if not compound:
            check_matrix(data, labels, table)
        assert dict(data.uns["emcell"]) == {"version": "1.0", "note": "\u00e4, \"b\""}
        if kind == "copy":
            same_below(path, out, gains_of(compound))

    # A second run beside the first, then one that replaces it.
    again = os.path.join(folder, "again.h5ad")
    run(binary, labels_path, os.path.join(folder, "copy.h5ad"), n, again, "key=second", "skip=3")
    data = anndata.read_h5ad(again)
    seen = numpy.arange(n) % 3 != 2
    assert data.obs["second_status"][~seen].isna().all()
    check_columns(data[seen], table[seen], "second", COLUMNS)
    before = list(data.obs.columns)
    replaced = os.path.join(folder, "replaced.h5ad")
    run(binary, labels_path, again, n, replaced, "overwrite", "skip=2")
    data = anndata.read_h5ad(replaced)
    assert list(data.obs.columns) == before, "a replaced column keeps its place"
    seen = numpy.arange(n) % 2 != 1
    assert data.obs["emcell_label"][~seen].isna().all()
    check_columns(data[seen], table[seen], "emcell", COLUMNS)

    # The results alone.
    alone = os.path.join(folder, "alone.h5ad")
    run(binary, labels_path, path, n, alone, "obs", "skip=4", "obsm")
    data = anndata.read_h5ad(alone)
    seen = numpy.arange(n) % 4 != 3
    assert data.shape == (int(seen.sum()), 0) and list(data.obs_names) == list(table.index[seen])
    check_columns(data, table[seen], "emcell", COLUMNS)
    check_matrix(data, labels, table[seen])
    check_rewrite(os.path.join(folder, "copy.h5ad"), folder)
    check_in_place(binary, path, n, compound, labels_path, table, folder)
    with h5py.File(path, "r") as file:
        if file.attrs.get("encoding-type") == "anndata":  # others hold references
            check_latest(binary, path, n, labels_path, folder)


def check_rewrite(path, folder):
    """What was written survives this anndata's own writer."""
    data, out = anndata.read_h5ad(path), os.path.join(folder, "rewritten.h5ad")
    try:
        data.write_h5ad(out)
    except Exception:  # some inputs cannot be written by it as they are, ours or not
        return
    again = anndata.read_h5ad(out)
    pandas.testing.assert_series_equal(data.obs["emcell_label"], again.obs["emcell_label"])


def check_latest(binary, path, n, labels_path, folder):
    """A file with the newest superblock keeps it, and one without a lower bound its own."""
    latest, out = os.path.join(folder, "latest.h5ad"), os.path.join(folder, "from_latest.h5ad")
    with h5py.File(path, "r") as old, h5py.File(latest, "w", libver="latest") as new:
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name in old:
            old.copy(name, new)
    run(binary, labels_path, latest, n, out)
    same_below(latest, out, gains_of(False))
    anndata.read_h5ad(out)


def check_in_place(binary, path, n, compound, labels_path, table, folder):
    if compound:
        return
    copy = os.path.join(folder, "place.h5ad")
    with open(path, "rb") as a, open(copy, "wb") as b:
        b.write(a.read())
    run(binary, labels_path, copy, n, "-", "in-place")
    same_below(path, copy, gains_of(compound))
    data = same_above(path, copy, len(COLUMNS), "emcell")
    check_columns(data, table, "emcell", COLUMNS)


def check_tables(binary, folder):
    """Labels with commas, quotes and letters beyond ASCII come back from each kind of table."""
    labels_path = os.path.join(folder, "labels.txt")
    first = None
    for ending in ("csv", "tsv", "csv.gz", "tsv.gz", "jsonl", "jsonl.gz"):
        out = os.path.join(folder, "t." + ending)
        run(binary, labels_path, "none.csv", 300, out, "probabilities=" + out + ".prob.csv")
        if "jsonl" in ending:
            frame = pandas.read_json(out, lines=True, dtype={"cell_id": str})
        else:
            frame = pandas.read_csv(out, sep="\t" if "tsv" in ending else ",")
        frame = frame.astype(object).where(frame.notna(), None)
        with open(labels_path, encoding="utf-8") as file:
            labels = [line.rstrip("\n").split("\t")[0] for line in file]
        assert set(frame["label"]) == set(labels[:-1]) | {"unknown", None}, ending
        probabilities = pandas.read_csv(out + ".prob.csv", index_col=0)
        assert list(probabilities.columns) == labels, ending
        if first is None:
            first = frame
        for name in ("cell_id", "label", "status", "reason", "cl_id"):
            assert list(first[name]) == list(frame[name]), (ending, name)


def main():
    if len(sys.argv) < 3:
        print(__doc__.strip())
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        check_tables(sys.argv[1], folder)
    for path in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                anndata.read_h5ad(path)
            except Exception as error:  # too new for this one, or not one of anndata's
                print(f"NOT RUN: {path}: anndata {anndata.__version__} does not read it "
                      f"({type(error).__name__})")
                continue
            try:
                check_file(sys.argv[1], path, folder)
                print(f"{path}: written and read back by anndata {anndata.__version__}")
            except Exception as error:  # of any kind: the next file is tried
                failed += 1
                print(f"{path}: {type(error).__name__}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
