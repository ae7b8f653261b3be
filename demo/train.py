#!/usr/bin/env python3
"""How is the demo model trained?

A small Qwen3 model starts from random weights and learns to answer the prompts that
`emcell prompt` wrote (prepare.py). Loss on the answer alone: the label and <|im_end|>.
Every cell is seen once; the order, the weights and the cells follow from the seeds.

    train.py DATA_FOLDER MODEL_FOLDER
"""

import argparse
import json
import math
import pathlib
import time

import torch
import transformers

import make_tokenizer

SEED = 20261104
VOCABULARY_ROWS = 3072  # the tokenizer's 3005 and padding rows, as real checkpoints have
BATCH = 16
WIDTH_STEP = 32  # widths of batches are multiples of this: few shapes to compile for
WARMUP_STEPS = 100
PEAK_RATE = 2e-3
FINAL_RATE = 2e-5
WEIGHT_DECAY = 0.05
CLIP = 1.0

MODEL = dict(
    vocab_size=VOCABULARY_ROWS, hidden_size=192, intermediate_size=512, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, head_dim=64,  # 4 * 64 is not 192, on purpose
    max_position_embeddings=4096, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True)


def read_examples(path, tokenizer):
    """(prompt ids, answer ids) of every line of a file that `emcell prompt` wrote."""
    answers = {}
    examples = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            label = record["obs"]["label"]
            if label not in answers:
                answers[label] = tokenizer.encode(label + "<|im_end|>", add_special_tokens=False)
            examples.append((record["ids"], answers[label]))
    return examples


def batches(examples, generator):
    """Batches of like lengths, in random order, so that little is padded."""
    noise = torch.rand(len(examples), generator=generator) * 16
    order = sorted(range(len(examples)), key=lambda i: len(examples[i][0]) + noise[i].item())
    order = order[:len(order) // BATCH * BATCH]
    for start in torch.randperm(len(order) // BATCH, generator=generator).tolist():
        yield [examples[i] for i in order[start * BATCH:(start + 1) * BATCH]]


def answer_loss(model, batch, dtype):
    """Mean cross-entropy of the answers' tokens. Padding stands right: attention is causal."""
    width = max(len(prompt) + len(answer) for prompt, answer in batch) - 1
    width = -(-width // WIDTH_STEP) * WIDTH_STEP
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    rows, places, targets = [], [], []
    for row, (prompt, answer) in enumerate(batch):
        text = (prompt + answer)[:-1]
        ids[row, :len(text)] = torch.tensor(text)
        rows += [row] * len(answer)
        places += range(len(prompt) - 1, len(prompt) - 1 + len(answer))
        targets += answer
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[rows, places]
        logits = model.lm_head(hidden)
    return torch.nn.functional.cross_entropy(logits.float(), torch.tensor(targets))


def rate(step, n_steps):
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, n_steps - WARMUP_STEPS)
    floor = FINAL_RATE / PEAK_RATE
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def build_model():
    torch.manual_seed(SEED)
    config = transformers.Qwen3Config(**MODEL)
    config.bos_token_id = None
    return transformers.Qwen3ForCausalLM(config)


def save(model, tokenizer, folder):
    """bf16 weights, by the reference library's own function."""
    end, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>"))
    model.config.eos_token_id, model.config.pad_token_id = end, pad
    model.generation_config = transformers.GenerationConfig(eos_token_id=[end, pad],
                                                            pad_token_id=pad, do_sample=False)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path, help="folder that prepare.py filled")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--parts", type=int, help="train on the first so many parts; default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16",
                        help="of the matrix products; weights and their sums are float32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    tokenizer = make_tokenizer.make()
    parts = sorted(args.data.glob("train*.jsonl"))[:args.parts]
    if not parts:
        parser.error(f"{args.data}: no train*.jsonl; run prepare.py first")
    model = build_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(parts)} parts")

    n_steps = 0
    for path in parts:
        with open(path, encoding="utf-8") as file:
            n_steps += sum(1 for _ in file) // BATCH
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    model.model = torch.compile(model.model, dynamic=False)
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY},
                                   {"params": plain, "weight_decay": 0.0}],
                                  lr=PEAK_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, n_steps))
    generator = torch.Generator().manual_seed(SEED)
    began, step, recent = time.monotonic(), 0, 0.0
    for path in parts:
        for batch in batches(read_examples(path, tokenizer), generator):
            loss = answer_loss(model, batch, dtype)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            recent += loss.item()
            if step % 100 == 0:
                print(f"{path.name} step {step}/{n_steps} loss {recent / 100:.4f} "
                      f"{step * BATCH / (time.monotonic() - began):.1f} cells/s", flush=True)
                recent = 0.0
    model.model = model.model._orig_mod  # the plain module behind torch.compile
    save(model, tokenizer, args.output)
    print(f"{args.output}: trained in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
