#!/usr/bin/env python3
"""An evaluation.json with everything in it that a page has to survive. Invented numbers.

usage: make_report.py > tests/golden/report/evaluation.json
"""
import json
import random
import sys

random.seed(20261123)
HOSTILE = "<script>alert('a')</script>"
LABELS = ["TE", "Early epiblast", HOSTILE, "a \"quoted\" & 'other' label", "Hypoblast",
          "A label with a name that goes on for very much longer than any column would like it to",
          "Änlage\u00a0\u03b2", "x" * 90, "PGC", "never right, never answered"]
N = [60, 41, 12, 9, 30, 22, 14, 25, 3, 0]


def interval(value, width=0.05):
    return {"value": value, "low": max(0, value - width), "high": min(1, value + width)}


def system(name, kind, accuracy, has_probs, description):
    n = sum(N)
    rows = len(LABELS) + 1
    confusion = [[0] * (len(LABELS) + 2) for _ in range(rows)]
    for i, count in enumerate(N + [4]):
        for _ in range(count):
            if random.random() < accuracy:
                confusion[i][i] += 1
            else:
                confusion[i][random.choice([0, 1, 2, 4, len(LABELS) + 1])] += 1
    invalid = sum(row[-1] for row in confusion)
    names = ["accuracy", "accuracy_valid", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc",
             "kappa", "sctab_accuracy", "lineage_accuracy", "hierarchical_f1"]
    metrics = {key: interval(round(accuracy - 0.01 * i, 4)) for i, key in enumerate(names)}
    metrics["graded"] = {"value": 2.4, "low": 2.2, "high": 2.6}
    for key in ["ece_width", "ece_mass", "brier", "nll", "aurc", "coverage_80", "coverage_90",
                "coverage_95"]:
        metrics[key] = interval(0.1) if has_probs else None
    bins = [{"low": i / 10, "high": (i + 1) / 10, "n": 10 * i, "confidence": i / 10 + 0.05,
             "accuracy": min(1, i / 10 + 0.02) if i else None} for i in range(10)]
    genes = [f"GENE{i}" for i in range(18)] + ["<b>MT-CO1</b>"]
    return {
        "name": name, "kind": kind, "description": description,
        "settings": {"model": "demo/model", "note": "</code>" + HOSTILE}, "hash": "0" * 32,
        "n": n + 4, "n_embryos": 7, "n_datasets": 2,
        "outcomes": {"label": n - invalid, "unknown": 4, "invalid": invalid - 1, "off_list": 0,
                     "empty": 0, "refused": 0, "failed": 1},
        "rates": {key: interval(0.02, 0.01) for key in
                  ["invalid", "off_list", "empty", "format_failure", "truncated", "several"]},
        "metrics": metrics,
        "classes": [{"label": label, "n": count, "n_predicted": count + 1 if count else 0,
                     "precision": accuracy if count else None, "recall": accuracy if count else None,
                     "f1": accuracy if count else None, "few": count < 20}
                    for label, count in zip(LABELS, N)],
        "confusion": confusion,
        "reliability": {"width": bins, "mass": bins} if has_probs else None,
        "risk": [{"coverage": i / 20, "risk": 0.3 * (i / 20) ** 2} for i in range(1, 21)]
                if has_probs else None,
        "embryos": [{"name": f"embryo_{i}" if i else HOSTILE, "n": 30, "n_right": 20,
                     "accuracy": 2 / 3, "low": 0.5, "high": 0.8, "macro_f1": 0.6}
                    for i in range(7)],
        "datasets": [{"name": name, "n": 108, "n_right": 80, "accuracy": 0.74, "low": 0.65,
                      "high": 0.82, "macro_f1": None} for name in ["Yan 2013", "<i>other</i>"]],
        "mistakes": [{"gold": LABELS[2], "predicted": LABELS[5], "n": 3, "cells": [
            {"id": "cell&1", "embryo": None, "score": 0.913, "genes": genes,
             "speak_for": ["GENE1"], "speak_against": []},
            {"id": "c" * 70, "embryo": "embryo_1", "score": None, "genes": genes[:3],
             "speak_for": [], "speak_against": ["GENE2", "GENE3"]}]}],
        "usage": {"seconds": 12.5, "n_prompt_tokens": 123456, "n_answer_tokens": 789, "n_tries": 221,
                  "n_cached": 3, "cost": 0.0123 if kind == "endpoint" else 0, "currency": "USD"},
    }


systems = [system("demo model", "model", 0.9, True, "demo/model, exact, profile embryo"),
           system(HOSTILE, "endpoint", 0.7, False, "http://127.0.0.1/<v1>"),
           system("majority", "baseline", 0.2, True, "the commonest label")]
document = {
    "format": "emcell evaluation", "version": 1, "emcell": "0.1.0",
    "command": ["emcell", "evaluate", "--benchmark", "bench & <co>", "--output", "x"],
    "benchmark": {"name": "emcellbench-test " + HOSTILE, "version": "1",
                  "description": "Invented figures that test the page. Nothing was measured.",
                  "source": "tests/golden/make_report.py", "official": False, "path": "a/<b>",
                  "hash": "f" * 32, "split": "test", "n_items": sum(N) + 4, "n_embryos": 7,
                  "n_datasets": 2, "n_train": 500},
    "labels": [{"label": label, "parent": None, "lineage": None, "cl": "CL:0000001", "n": count,
                "n_train": 2 * count} for label, count in zip(LABELS, N)],
    "settings": {"seed": 1, "n_bootstrap": 1000, "held_out": None, "bins": 10},
    "systems": systems,
    "paired": [{"a": "demo model", "b": HOSTILE, "n": 220, "difference": 0.2, "low": 0.1,
                "high": 0.3, "p_bootstrap": 0.001, "p_mcnemar": 0.00012, "a_only": 50,
                "b_only": 6}],
    "sweeps": [{"system": "demo model", "kind": "n_genes", "points": [
        {"level": str(n), "n": 220, "accuracy": 0.5 + n / 1000, "macro_f1": None,
         "same_as_plain": 0.8} for n in [10, 25, 50, 100]]}],
    "open_set": [{"system": "demo model", "label": HOSTILE, "n_known": 204, "n_unknown": 12,
                  "auroc": 0.81, "fpr95": None, "unknown_precision": None, "unknown_recall": 0}],
    "notes": ["A note with <b>markup</b>."],
}
json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
print()
