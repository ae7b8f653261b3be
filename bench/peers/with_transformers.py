#!/usr/bin/env python3
"""A peer in the race: PyTorch and transformers. usage: with_transformers.py JOB.json RESULT.json

The common prefix is computed once; a batch computes its cells' own tokens beside it, then the inner
nodes of the labels' trie in one pass with a mask. Cells are sorted by length and padded on the
right. Every batch size of the job is tried, and the best is kept.
"""

import copy
import json
import sys
import time

try:
    import torch
    import transformers
except ImportError as error:
    print(f"NOT RUN: {error}")
    sys.exit(77)


class Trie:
    """Inner nodes below the root, parents first, and each label's way through them."""

    def __init__(self, labels):
        nodes = {}
        self.tokens, self.parents, self.depths = [], [], []
        self.steps = []  # (label, node to read or -1 for the prompt's end, token)
        for number, label in enumerate(labels):
            node, path = -1, ()
            for depth, token in enumerate(label):
                self.steps.append((number, node, token))
                path += (token,)
                if depth + 1 == len(label):
                    break
                if path not in nodes:
                    nodes[path] = len(self.tokens)
                    self.tokens.append(token)
                    self.parents.append(node)
                    self.depths.append(depth)
                node = nodes[path]
        n = len(self.tokens)
        self.sees = torch.eye(n, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                self.sees[node] |= self.sees[parent]


class Scorer:
    def __init__(self, job):
        self.device = torch.device(job["device"])
        self.dtype = getattr(torch, job["dtype"])
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            job["model"], dtype=self.dtype, attn_implementation="sdpa").to(self.device).eval()
        self.trie = Trie(job["labels"])
        self.n_labels = len(job["labels"])
        self.prefix = job["prompts"][0][:job["n_prefix"]]
        steps = torch.tensor(self.trie.steps, device=self.device)
        self.step_label, self.step_row, self.step_token = steps[:, 0], steps[:, 1] + 1, steps[:, 2]
        self.tokens = torch.tensor(self.trie.tokens, device=self.device, dtype=torch.long)
        self.depths = torch.tensor(self.trie.depths, device=self.device, dtype=torch.long)
        self.sees = self.trie.sees.to(self.device)
        with torch.inference_mode():
            ids = torch.tensor([self.prefix], device=self.device)
            self.cache = self.model.model(input_ids=ids, use_cache=True).past_key_values

    @torch.inference_mode()
    def score(self, suffixes):
        """[cells, labels] joint log-probabilities."""
        n, device, n_prefix = len(suffixes), self.device, len(self.prefix)
        lengths = torch.tensor([len(s) for s in suffixes])
        longest, n_nodes = int(lengths.max()), len(self.tokens)
        ids = torch.zeros(n, longest, dtype=torch.long)
        for row, suffix in enumerate(suffixes):
            ids[row, :len(suffix)] = torch.tensor(suffix)
        ids, lengths = ids.to(device), lengths.to(device)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(n)
        positions = torch.arange(longest, device=device).expand(n, -1)
        # Padding stands behind every token that is read, so causality alone hides it here.
        hidden = self.model.model(input_ids=ids, position_ids=n_prefix + positions,
                                  past_key_values=cache, use_cache=True).last_hidden_state
        rows = hidden[torch.arange(n, device=device), lengths - 1].unsqueeze(1)
        if n_nodes:
            own = positions < lengths.unsqueeze(1)
            mask = torch.cat([torch.ones(n, n_prefix, dtype=torch.bool, device=device), own], 1)
            mask = torch.cat([mask.unsqueeze(1).expand(-1, n_nodes, -1),
                              self.sees.expand(n, -1, -1)], 2).unsqueeze(1)
            nodes = self.model.model(
                input_ids=self.tokens.expand(n, -1), attention_mask=mask, past_key_values=cache,
                position_ids=n_prefix + lengths.unsqueeze(1) + self.depths,
                use_cache=True).last_hidden_state
            rows = torch.cat([rows, nodes], 1)
        # A node at a time: all of them for a batch would be gigabytes of logits.
        scores = torch.zeros(n, self.n_labels, device=device)
        for row in range(rows.shape[1]):
            read = (self.step_row == row).nonzero().squeeze(1)
            logs = self.model.lm_head(rows[:, row]).float().log_softmax(-1)
            scores.index_add_(1, self.step_label[read], logs[:, self.step_token[read]])
        return scores

    def run(self, prompts, size):
        """(seconds, scores in the order of the prompts)"""
        n_prefix = len(self.prefix)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        out = [None] * len(prompts)
        begin = time.perf_counter()
        for at in range(0, len(order), size):
            batch = order[at:at + size]
            for i, row in zip(batch, self.score([prompts[i][n_prefix:] for i in batch]).tolist()):
                out[i] = row
        return time.perf_counter() - begin, out


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    scorer = Scorer(job)
    best, tried = None, []
    for size in job["batches"]:
        try:
            longest = sorted(job["prompts"], key=len)[-size:]
            scorer.run(longest, size)
            seconds, scores = scorer.run(job["prompts"], size)
        except torch.OutOfMemoryError:
            tried.append(f"{size}: no memory")
            torch.cuda.empty_cache()
            break
        rate = len(job["prompts"]) / seconds
        tried.append(f"{size}: {rate:.2f}")
        print(f"batch {size}: {rate:.2f} cells/s", flush=True)
        if not best or rate > best[0]:
            best = (rate, size, scores)
    if not best:
        sys.exit("no batch size fits into memory")
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump({"rows": [{
            "what": "transformers, every label", "cells_per_s": best[0], "scores": best[2],
            "settings": f"SDPA, {job['dtype']}, sorted by length, right padding, prefix K/V "
                        f"reused, labels as a masked tree, batch {best[1]} (cells/s by batch: "
                        f"{', '.join(tried)})"}],
            "versions": f"torch {torch.__version__}, "
                        f"transformers {transformers.__version__}"}, file)


if __name__ == "__main__":
    main()
