"""Writes tests/golden/runtime: tiny random Qwen3 checkpoints and adapters with the logits that the
reference library gives for them.

    python make_runtime.py [case ...]      (no case: all of them, from an empty folder)

Needs torch, transformers and peft from PyPI. Seeds are fixed. Each case is a folder:

    <case>/model/              as save_pretrained writes it
    <case>/adapter/            as PEFT writes it, in some cases (model/ is then another case's)
    <case>/case.json           prompts, the positions whose logits are kept, greedy continuations
    <case>/logits.safetensors  f32_<prompt> F32 [positions, vocab], bf16_<prompt> BF16 likewise

odd/model has widths that the engine does not compute; it is there to be refused.

Norms are random so that their weights matter, those of q and k large enough that attention is
sharp and a wrong rotation shows.
"""

import json
import os
import shutil
import sys

import peft
import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "runtime")
VOCAB = 96
EOS = [5, 7]
LENGTHS = [1, 7, 140, 300]
LONG = {"wide128": 2000, "wide64": 700}  # in place of the last
MAX_NEW = 24

# heads / kv heads: 1, 2, 4, 5 and 8 queries a K/V head; head_dim is never hidden / heads.
MODELS = {
    "group1": dict(hidden_size=32, num_attention_heads=2, num_key_value_heads=2, head_dim=24,
                   intermediate_size=64, num_hidden_layers=2, tie_word_embeddings=True),
    "group2": dict(hidden_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                   intermediate_size=64, num_hidden_layers=2, tie_word_embeddings=False,
                   rope_theta=5000000.0),
    "group4": dict(hidden_size=64, num_attention_heads=8, num_key_value_heads=2, head_dim=16,
                   intermediate_size=72, num_hidden_layers=2, tie_word_embeddings=True),
    "group5": dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=32,
                   intermediate_size=72, num_hidden_layers=3, tie_word_embeddings=False),
    "group8": dict(hidden_size=40, num_attention_heads=8, num_key_value_heads=1, head_dim=16,
                   intermediate_size=64, num_hidden_layers=3, tie_word_embeddings=False,
                   max_position_embeddings=128,
                   rope_scaling=dict(rope_type="yarn", factor=4.0,
                                     original_max_position_embeddings=128)),
    # The heads of the published models, that GPUs take on tensor cores.
    "wide128": dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=1, head_dim=128,
                    intermediate_size=64, num_hidden_layers=2, tie_word_embeddings=True,
                    max_position_embeddings=4096),
    "wide64": dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
                   intermediate_size=64, num_hidden_layers=3, tie_word_embeddings=False),
    # Four K/V heads: over two ranks each has two of them.
    "heads4": dict(hidden_size=48, num_attention_heads=8, num_key_value_heads=4, head_dim=16,
                   intermediate_size=64, num_hidden_layers=2, tie_word_embeddings=True),
}
ODD = dict(hidden_size=12, num_attention_heads=1, num_key_value_heads=1, head_dim=8,
           intermediate_size=8, num_hidden_layers=1, tie_word_embeddings=True)
DTYPES = {"odd": torch.float32, "group1": torch.float32, "group2": torch.float32, "group4": torch.bfloat16,
          "group5": torch.bfloat16, "group8": torch.bfloat16, "wide128": torch.bfloat16,
          "wide64": torch.bfloat16, "heads4": torch.bfloat16}
SHARDED = {"group2": "100KB", "group5": "60KB"}

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "lora": ("group4", dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    "rslora": ("group2", dict(r=4, lora_alpha=8, target_modules=ALL, use_rslora=True,
                              rank_pattern={"q_proj": 6, "layers.1.mlp.down_proj": 2},
                              alpha_pattern={"v_proj": 3, "layers.0.mlp.gate_proj": 12})),
    "dora": ("group1", dict(r=3, lora_alpha=6, use_dora=True,
                            target_modules=["q_proj", "v_proj", "o_proj", "down_proj", "up_proj"])),
    "embedding": ("group8", dict(r=4, lora_alpha=8,
                                 target_modules=["embed_tokens", "lm_head", "o_proj"])),
    "untied": ("group1", dict(r=2, lora_alpha=4, target_modules=["k_proj"],
                              modules_to_save=["lm_head"])),
}


def randomise(model, generator):
    """Weights of about unit gain, logits that spread over several units."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("q_norm.weight") or name.endswith("k_norm.weight"):
                weight.copy_(1.5 + 0.5 * noise)
            elif weight.dim() == 1:
                weight.copy_(1.0 + 0.3 * noise)
            elif "embed_tokens" in name:
                weight.copy_(noise * (0.5 if model.config.tie_word_embeddings else 1.0))
            elif "lm_head" in name:
                weight.copy_(noise * 3.0 / weight.shape[1] ** 0.5)
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)


def make_model(name, sizes, seed):
    config = transformers.Qwen3Config(vocab_size=VOCAB, rms_norm_eps=1e-6, eos_token_id=EOS[0],
                                      bos_token_id=None,
                                      **{"max_position_embeddings": 1024,
                                         "rope_theta": 1000000.0, **sizes})
    model = transformers.Qwen3ForCausalLM(config)
    randomise(model, torch.Generator().manual_seed(seed))
    model = model.to(DTYPES[name]).eval()
    model.generation_config = transformers.GenerationConfig(eos_token_id=EOS, do_sample=False)
    folder = os.path.join(HERE, name, "model")
    model.save_pretrained(folder, max_shard_size=SHARDED.get(name, "1GB"))


def load(name, dtype):
    return transformers.Qwen3ForCausalLM.from_pretrained(os.path.join(HERE, name, "model"),
                                                         dtype=dtype).eval()


def prompts(name, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = LENGTHS[:-1] + [LONG.get(name, LENGTHS[-1])]
    return [torch.randint(8, VOCAB - 8, (n,), generator=generator).tolist() for n in lengths]


def kept_positions(n):
    """All of a short prompt; of a long one some, with those beside the edges of pages."""
    if n <= 8:
        return list(range(n))
    edges = [p for edge in (128, 256) for p in range(edge - 2, edge + 2)]
    return sorted({p for p in [*range(0, n, max(29, n // 40)), *edges, n - 1] if p < n})


def run(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def greedy(model, ids):
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=MAX_NEW,
                             eos_token_id=EOS, pad_token_id=EOS[0])[0, len(ids):].tolist()
    ended = any(token in EOS for token in out)
    return dict(ids=[token for token in out if token not in EOS], ended=ended)


def write_case(name, model_of, seed):
    """model_of(dtype) gives the model to run."""
    case = dict(prompts=prompts(name, seed), positions=[], greedy=[])
    tensors = {}
    exact, rounded = model_of(torch.float32), model_of(torch.bfloat16)
    for i, ids in enumerate(case["prompts"]):
        kept = kept_positions(len(ids))
        case["positions"].append(kept)
        tensors[f"f32_{i}"] = run(exact, ids)[kept].float().contiguous()
        tensors[f"bf16_{i}"] = run(rounded, ids)[kept].to(torch.bfloat16).contiguous()
        case["greedy"].append(greedy(exact, ids))
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, "logits.safetensors"))
    with open(os.path.join(folder, "case.json"), "w") as out:
        json.dump(case, out, separators=(",", ":"))
        out.write("\n")


def make_adapter(name, seed):
    base, options = ADAPTERS[name]
    model = peft.get_peft_model(load(base, torch.float32),
                                peft.LoraConfig(task_type="CAUSAL_LM", **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "lora_magnitude" in key:
                weight.mul_(1 + 0.2 * noise)
            elif "lora_" in key:
                weight.copy_(noise * 0.3)
            elif "modules_to_save" in key:
                weight.copy_(noise * 0.4)
    folder = os.path.join(HERE, name, "adapter")
    model.save_pretrained(folder)
    extra = os.path.join(folder, "README.md")
    if os.path.exists(extra):
        os.remove(extra)
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as file:
        config = json.load(file)
    config["target_modules"].sort()  # a set, whose order differs from run to run
    config["base_model_name_or_path"] = f"../../{base}/model"
    with open(path, "w") as file:
        json.dump(config, file, indent=1, sort_keys=True)
        file.write("\n")


def load_adapted(name, dtype):
    base = ADAPTERS[name][0]
    return peft.PeftModel.from_pretrained(load(base, dtype),
                                          os.path.join(HERE, name, "adapter")).eval()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    if not wanted:
        shutil.rmtree(HERE, ignore_errors=True)
        make_model("odd", ODD, 99)
    for i, name in enumerate(MODELS):
        if wanted and name not in wanted:
            continue
        make_model(name, MODELS[name], 100 + i)
        write_case(name, lambda dtype, n=name: load(n, dtype), 200 + i)
    for i, name in enumerate(ADAPTERS):
        if wanted and name not in wanted:
            continue
        make_adapter(name, 300 + i)
        write_case(name, lambda dtype, n=name: load_adapted(n, dtype), 400 + i)


if __name__ == "__main__":
    main()
