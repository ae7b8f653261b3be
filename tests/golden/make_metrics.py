#!/usr/bin/env python3
"""What scikit-learn, and NumPy from the formulas where it has nothing, say of random and degenerate
answers.

usage: make_metrics.py > tests/golden/metrics/cases.json      (needs scikit-learn, numpy, scipy)
"""
import json
import math
import sys

import numpy
from scipy import stats
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

rng = numpy.random.default_rng(20261123)


def clean(x):
    x = float(x)
    return x if math.isfinite(x) else None


def classification(gold, answer, n_labels):
    """Classes 0..n_labels ("unknown" last); answers may be n_labels + 1, never right."""
    present = sorted(set(gold))
    valid = [i for i, a in enumerate(answer) if a <= n_labels]
    f1 = dict(labels=present, zero_division=0)
    out = {
        "accuracy": metrics.accuracy_score(gold, answer),
        "accuracy_valid": metrics.accuracy_score([gold[i] for i in valid],
                                                 [answer[i] for i in valid]) if valid else math.nan,
        "balanced_accuracy": metrics.recall_score(gold, answer, average="macro", **f1),
        "macro_f1": metrics.f1_score(gold, answer, average="macro", **f1),
        "weighted_f1": metrics.f1_score(gold, answer, average="weighted", **f1),
        "mcc": metrics.matthews_corrcoef(gold, answer),
        "kappa": metrics.cohen_kappa_score(gold, answer),
    }
    return {key: clean(value) for key, value in out.items()}


def bins_width(confidence, right, n_bins):
    edges = numpy.arange(n_bins + 1) / n_bins
    which = numpy.minimum(numpy.searchsorted(edges, confidence, side="right") - 1, n_bins - 1)
    return which


def bins_mass(confidence, right, n_bins):
    n = len(confidence)
    less = numpy.array([(confidence < c).sum() for c in confidence])
    return numpy.minimum(numpy.floor(n_bins * less / n).astype(int), n_bins - 1)


def ece(confidence, right, which, n_bins):
    total = 0.0
    for b in range(n_bins):
        at = which == b
        if at.any():
            total += at.sum() / len(confidence) * abs(right[at].mean() - confidence[at].mean())
    return total


def expected_prefix_errors(confidence, right):
    """errors[k]: expected mistakes among the k surest, ties in random order."""
    errors, before = [0.0], 0.0
    for value in sorted(set(confidence), reverse=True):
        at = confidence == value
        m, wrong = at.sum(), (1 - right[at]).sum()
        errors += [before + j * wrong / m for j in range(1, m + 1)]
        before += wrong
    return numpy.array(errors)


def calibration(confidence, right):
    errors = expected_prefix_errors(confidence, right)
    n = len(confidence)
    k = numpy.arange(1, n + 1)
    out = {
        "ece_width": ece(confidence, right, bins_width(confidence, right, 15), 15),
        "ece_mass": ece(confidence, right, bins_mass(confidence, right, 15), 15),
        "aurc": (errors[1:] / k).mean(),
    }
    for share in (80, 90, 95):
        wanted = math.ceil(share / 100 * n - 1e-9)
        out[f"coverage_{share}"] = 1 - errors[wanted] / wanted
    return {key: clean(value) for key, value in out.items()}


def classification_cases():
    cases = []
    fixed = [
        ([0], [0], 1), ([0], [2], 1), ([0, 0, 0], [0, 0, 0], 2), ([0, 0], [1, 1], 2),
        ([0, 1], [1, 0], 2), ([2, 2], [2, 2], 2), ([0, 1, 2], [3, 3, 3], 2),
        ([0, 1, 1], [0, 1, 4], 3), ([1, 1, 1, 0], [1, 1, 1, 1], 2), ([0, 2], [2, 2], 2),
        ([3, 3, 0], [0, 4, 3], 3),
    ]
    for gold, answer, n in fixed:
        cases.append((gold, answer, n))
    for _ in range(60):
        n_labels = int(rng.integers(1, 8))
        n = int(rng.integers(2, 60))
        gold = rng.integers(0, n_labels + int(rng.random() < 0.3), n)
        answer = numpy.where(rng.random(n) < rng.random(), gold,
                             rng.integers(0, n_labels + 2, n))
        cases.append((gold.tolist(), answer.tolist(), n_labels))
    return [{"n_labels": n, "gold": g, "answer": a, "want": classification(g, a, n),
             "per_class": per_class(g, a, n)} for g, a, n in cases]


def calibration_cases():
    cases = [([0.5], [1]), ([1.0, 0.0], [1, 0]), ([0.3] * 7, [1, 0, 0, 1, 0, 1, 1]),
             ([1.0, 1.0, 1.0], [0, 0, 0]), ([i / 15 for i in range(16)], [i % 2 for i in range(16)])]
    for _ in range(40):
        n = int(rng.integers(2, 80))
        confidence = rng.random(n)
        if rng.random() < 0.5:
            confidence = numpy.round(confidence, 1)
        cases.append((confidence.tolist(), (rng.random(n) < confidence).astype(int).tolist()))
    out = []
    for confidence, right in cases:
        c, r = numpy.array(confidence), numpy.array(right, float)
        out.append({"confidence": confidence, "right": right, "want": calibration(c, r)})
    return out


def open_set_cases():
    out = []
    for _ in range(20):
        known = numpy.round(rng.random(int(rng.integers(1, 40))), int(rng.integers(1, 4)))
        unknown = numpy.round(rng.random(int(rng.integers(1, 40))) ** 2, int(rng.integers(1, 4)))
        truth = [0] * len(known) + [1] * len(unknown)
        reject = numpy.concatenate([-known, -unknown])
        threshold = min(u for u in unknown if (unknown <= u).mean() >= 0.95 - 1e-12)
        out.append({"known": known.tolist(), "unknown": unknown.tolist(),
                    "auroc": metrics.roc_auc_score(truth, reject),
                    "fpr95": float((known <= threshold).mean())})
    return out


def test_cases():
    quantiles = [{"values": (v := rng.normal(size=int(rng.integers(1, 30))).tolist()),
                  "q": (q := float(rng.random())), "want": float(numpy.quantile(v, q))}
                 for _ in range(20)]
    mcnemar = [{"a": a, "b": b, "want": min(1.0, 2 * float(stats.binom.cdf(min(a, b), a + b, 0.5)))}
               for a, b in [(0, 0), (1, 0), (0, 5), (3, 3), (10, 2), (200, 150), (1000, 900)]]
    wilson = []
    for k, n in [(0, 1), (1, 1), (3, 10), (99, 100), (0, 50), (500, 1000)]:
        ci = stats.binomtest(k, n).proportion_ci(method="wilson")
        wilson.append({"k": k, "n": n, "low": ci.low, "high": ci.high})
    return quantiles, mcnemar, wilson


def logistic_case():
    """Small and dense enough to be checked; the optimum is unique."""
    n, n_features, n_classes = 40, 6, 3
    x = rng.normal(size=(n, n_features)) * (rng.random((n, n_features)) < 0.6)
    y = rng.integers(0, n_classes, n)
    y[:n_classes] = range(n_classes)
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=100000).fit(x, y)
    return {"x": x.tolist(), "y": y.tolist(), "weights": model.coef_.tolist(),
            "intercepts": model.intercept_.tolist(), "probs": model.predict_proba(x).tolist()}


def per_class(gold, answer, n_labels):
    """Of classes that have items: precision, recall, F1, items."""
    present = sorted(set(gold))
    scores = metrics.precision_recall_fscore_support(gold, answer, labels=present, zero_division=0)
    return [{"class": int(c), "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for c, p, r, f, n in zip(present, *scores)]


def probability_cases():
    """Brier's score, summed over labels, and the negative log-likelihood, cut at 1e-15."""
    out = []
    fixed = [([1.0], 0), ([1.0, 0.0], 0), ([1.0, 0.0], 1), ([0.5, 0.5], 0), ([0.25] * 4, 3),
             ([1e-20, 1 - 1e-20], 0), ([1e-15, 1 - 1e-15], 0), ([0.0, 0.0, 1.0], 1)]
    for _ in range(30):
        n = int(more.integers(1, 40))
        logits = more.normal(size=n) * more.choice([0.1, 1, 10, 100])
        p = numpy.exp(logits - logits.max())
        fixed.append(((p / p.sum()).tolist(), int(more.integers(0, n))))
    for p, gold in fixed:
        x = numpy.array(p)
        out.append({"probs": p, "gold": gold,
                    "brier": float(((x - numpy.eye(len(p))[gold]) ** 2).sum()),
                    "nll": float(-numpy.log(numpy.clip(x, 1e-15, None)[gold]))})
    return out


TRIVIAL = {"cell", "embryonic cell", "native cell", "animal cell"}
PROGENITORS = {"prelineage", "icm"}


def hierarchy_case(names, parents, pairs):
    """Means of scTab's rule, the grades and the same lineage; hierarchical F1 over all pairs."""
    n = len(names)

    def line(i):
        out, at = [i], parents[i]
        while at >= 0:
            if names[at].lower() not in TRIVIAL:
                out.append(at)
            at = parents[at]
        return out

    def lineage(i):
        above = [a for a in line(i)[1:] if names[a].lower() not in PROGENITORS]
        return above[-1] if above else i

    rows, common, right, said = [], 0, 0, 0
    for gold, answer in pairs:
        if gold == n or answer >= n:
            same = gold == n and answer == n
            rows.append((same, 3 * same, same))
            common += same
            right += 1 if gold == n else len(line(gold))
            said += len(line(answer)) if answer < n else int(answer == n)
            continue
        g, a = set(line(gold)), set(line(answer))
        below = gold in line(answer)[1:]
        rows.append((gold == answer or below,
                     3 if gold == answer else 2 if below else 1 if g & a else 0,
                     lineage(gold) == lineage(answer)))
        common, right, said = common + len(g & a), right + len(g), said + len(a)
    means = numpy.array(rows, float).mean(axis=0)
    precision, recall = common / said if said else 0.0, common / right
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"names": names, "parents": parents, "pairs": pairs, "sctab": means[0],
            "graded": means[1], "lineage": means[2], "hierarchical_f1": f1}


def hierarchy_cases():
    out = [hierarchy_case(["A", "B"], [-1, -1], [[0, 0]]),
           hierarchy_case(["A", "B"], [-1, -1], [[0, 1], [1, 3], [0, 3]]),
           hierarchy_case(["A", "B"], [-1, 0], [[0, 1], [1, 0]]),
           hierarchy_case(["cell", "B", "C"], [-1, 0, 0], [[1, 2], [0, 1], [1, 0], [3, 3]]),
           hierarchy_case(["ICM", "B", "C"], [-1, 0, 0], [[1, 2], [0, 2], [2, 0]]),
           hierarchy_case(["A", "B", "C"], [-1, 0, 1], [[3, 0], [3, 4], [3, 3]]),
           hierarchy_case([f"level {i}" for i in range(30)], list(range(-1, 29)),
                          [[0, 29], [29, 0], [14, 15], [15, 14], [29, 29], [30, 29], [7, 31]])]
    for _ in range(40):
        n = int(more.integers(2, 20))
        names = [f"type {i}" for i in range(n)]
        for i, name in enumerate(["cell", "Prelineage", "ICM", "native cell"]):
            if more.random() < 0.4 and i < n:
                names[i] = name
        depth = more.random()
        parents = [-1] + [int(more.integers(0, i)) if more.random() < depth else -1
                          for i in range(1, n)]
        pairs = [[int(more.integers(0, n + 1)), int(more.integers(0, n + 2))]
                 for _ in range(int(more.integers(1, 50)))]
        out.append(hierarchy_case(names, parents, pairs))
    return out


quantiles, mcnemar, wilson = test_cases()
more = numpy.random.default_rng(20261124)
json.dump({"classification": classification_cases(), "calibration": calibration_cases(),
           "open_set": open_set_cases(), "quantiles": quantiles, "mcnemar": mcnemar,
           "wilson": wilson, "logistic": logistic_case(), "probabilities": probability_cases(),
           "hierarchies": hierarchy_cases()}, sys.stdout)
print()
