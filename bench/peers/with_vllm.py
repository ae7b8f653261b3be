#!/usr/bin/env python3
"""A peer in the race: vLLM (0.12 or later). usage: with_vllm.py JOB.json RESULT.json

Two ways: structured choice, which decodes a label token by token; and one token out of the labels'
first ones, which is no whole answer where labels share a first token, but the most that decoding
could reach. Prefix caching is on. Warm-up takes the cells of the job's warm_up, so that no timed
prompt is in the cache.
"""

import json
import sys
import time

try:
    import vllm
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams
except ImportError as error:
    print(f"NOT RUN: {error}")
    sys.exit(77)


def as_prompts(rows):
    return [{"prompt_token_ids": ids} for ids in rows]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    if job["device"] == "cpu":
        print("NOT RUN: vLLM is raced on GPUs alone")
        sys.exit(77)
    longest = max(len(ids) for ids in job["prompts"] + job["warm_up"])
    answer = max(len(ids) for ids in job["labels"])
    firsts = sorted({ids[0] for ids in job["labels"]})
    ways = {
        "vLLM, structured choice": SamplingParams(
            temperature=0, max_tokens=answer,
            structured_outputs=StructuredOutputsParams(choice=job["texts"])),
        "vLLM, first token alone": SamplingParams(temperature=0, max_tokens=1,
                                                  allowed_token_ids=firsts),
    }
    best = {}
    for tokens in job["budgets"]:
        model = LLM(model=job["model"], dtype=job["dtype"], enable_prefix_caching=True,
                    max_num_batched_tokens=tokens, max_model_len=longest + answer + 1,
                    gpu_memory_utilization=0.9)
        for what, sampling in ways.items():
            model.reset_prefix_cache()
            model.generate(as_prompts(job["warm_up"]), sampling, use_tqdm=False)
            begin = time.perf_counter()
            out = model.generate(as_prompts(job["prompts"]), sampling, use_tqdm=False)
            rate = len(out) / (time.perf_counter() - begin)
            print(f"{what}, {tokens} tokens a step: {rate:.2f} cells/s", flush=True)
            if what not in best or rate > best[what]["cells_per_s"]:
                best[what] = {"what": what, "cells_per_s": rate,
                              "settings": f"{job['dtype']}, prefix caching, {tokens} tokens a step"}
                if "choice" in what:
                    best[what]["answers"] = [one.outputs[0].text for one in out]
        del model
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump({"rows": list(best.values()), "versions": f"vllm {vllm.__version__}"}, file)


if __name__ == "__main__":
    main()
