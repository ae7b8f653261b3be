"""Writes tests/golden/loader: tiny checkpoints and adapters as the reference libraries save them.

Run with a Python that has torch, transformers and peft (made with 2.15, 5.23 and 0.21):

    python tests/golden/make_loader.py

Weights are random from fixed seeds. expected.json holds what the C tests compare with: for every
tensor its file, dtype, shape and the sum of its bytes; rotary frequencies as the library computes
them; and what each adapter adds to each module's output for a fixed input.
"""

import json
import os
import pathlib
import re
import shutil
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import save_model as save_safetensors
from transformers import AutoConfig, Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent / "loader"
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def config(**changes):
    sizes = dict(
        vocab_size=24,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        rope_theta=1000000.0,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=1,
    )
    sizes.update(changes)
    return Qwen3Config(**sizes)


def model_of(seed, dtype, **changes):
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config(**changes)).to(dtype).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name:
                value.uniform_(0.5, 1.5)
    return model


def describe(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                raw = tensor.contiguous().view(torch.uint8).flatten()
                tensors[name] = {
                    "file": path.name,
                    "dtype": NAMES[tensor.dtype],
                    "shape": list(tensor.shape),
                    "byte_sum": int(raw.sum(dtype=torch.int64)),
                }
    return tensors


def save_model(expected, name, model, **options):
    folder = HERE / name
    model.save_pretrained(folder, **options)
    (folder / "README.md").unlink(missing_ok=True)
    expected["checkpoints"][name] = describe(folder)


def only_head(expected):
    """A tied model saved by safetensors itself, which keeps the first name of a shared tensor."""
    folder = HERE / "tied_only_head"
    model = model_of(6, torch.float32, tie_word_embeddings=True)
    model.config.save_pretrained(folder)
    save_safetensors(model, folder / "model.safetensors")
    expected["checkpoints"]["tied_only_head"] = describe(folder)


def checkpoints(expected):
    save_model(expected, "single_f32", model_of(1, torch.float32))
    save_model(expected, "tied_bf16", model_of(2, torch.bfloat16, tie_word_embeddings=True))
    save_model(expected, "sharded_f16", model_of(3, torch.float16), max_shard_size="3KB")
    only_head(expected)


def rope(expected):
    cases = {
        "plain_1e6": {},
        "plain_5e6": {"rope_theta": 5000000.0},
        "plain_small_head": {"head_dim": 10, "rope_theta": 10000.0},
        "yarn_4": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                    "original_max_position_embeddings": 32768}},
        "yarn_old_key": {"rope_scaling": {"type": "yarn", "factor": 2.0,
                                          "original_max_position_embeddings": 32768}},
        "yarn_given": {"rope_scaling": {"rope_type": "yarn", "factor": 8.0,
                                        "original_max_position_embeddings": 4096,
                                        "attention_factor": 1.25, "beta_fast": 16.0,
                                        "beta_slow": 2.0}},
        "yarn_untruncated": {"rope_scaling": {"rope_type": "yarn", "factor": 3.0,
                                              "original_max_position_embeddings": 1000,
                                              "truncate": False}},
        "yarn_mscale": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                         "original_max_position_embeddings": 32768,
                                         "mscale": 2.0, "mscale_all_dim": 0.5}},
        "yarn_top_level": {"original_max_position_embeddings": 16384,
                           "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        "yarn_one": {"rope_scaling": {"rope_type": "yarn", "factor": 1.0,
                                      "original_max_position_embeddings": 32768}},
        "yarn_narrow": {"head_dim": 8, "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
            "beta_fast": 1.0, "beta_slow": 1.0}},
        "yarn_equal_betas": {"rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768,
            "beta_fast": 4.0, "beta_slow": 4.0, "truncate": False}},
        "yarn_short_context": {"rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4,
            "beta_fast": 8.0, "beta_slow": 4.0}},
        "yarn_small_base": {"rope_theta": 100.0, "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 131072,
            "beta_fast": 5000.0}},
        "new_names": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5000000.0,
                                          "factor": 4.0,
                                          "original_max_position_embeddings": 32768}},
    }
    for name, changes in cases.items():
        text = dict(
            architectures=["Qwen3ForCausalLM"], model_type="qwen3", vocab_size=24, hidden_size=12,
            intermediate_size=20, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, head_dim=128, max_position_embeddings=40960,
            rms_norm_eps=1e-6, rope_theta=1000000.0, torch_dtype="bfloat16",
        )
        text.update(changes)
        if "rope_parameters" in changes:
            del text["rope_theta"]
        folder = HERE / "rope"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(text, indent=1) + "\n")
        read = dict(text)
        read.pop("architectures")
        table = Qwen3RotaryEmbedding(Qwen3Config(**read))
        expected["rope"][name] = {
            "inv_freq": [float(x) for x in table.inv_freq],
            "attention_factor": float(table.attention_scaling),
        }


PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapter(expected, name, tied=False, **options):
    """Saves an adapter with random B (PEFT starts it at zero) and what each module then adds.

    Its base, when not tied, is the checkpoint single_f32.
    added: for every LoRA module, delta = y(adapter) - y(base) for x = (1, 1/2, 1/3, ...), or for
    the embedding of token 3.
    """
    base = model_of(1, torch.float32, tie_word_embeddings=tied)
    model = get_peft_model(base, LoraConfig(**options))
    torch.manual_seed(5)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                value.uniform_(-0.5, 0.5)
            if "lora_magnitude" in key:
                value.uniform_(0.5, 1.5)
    folder = HERE / "adapters" / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)

    model.eval()
    added = {}
    for key, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        if "embed_tokens" in key:
            x = torch.tensor([3])
        else:
            x = 1.0 / torch.arange(1, module.in_features + 1, dtype=torch.float32)[None]
        with torch.no_grad():
            delta = module(x) - module.base_layer(x)
        added[key.removeprefix("base_model.model.")] = [float(v) for v in delta.flatten()]
    expected["adapters"][name] = {"tied": tied, "added": added}


def adapters(expected):
    adapter(expected, "plain", r=2, lora_alpha=6, target_modules=PROJECTIONS, lora_dropout=0.1)
    adapter(expected, "rslora", r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj"])
    adapter(expected, "patterns", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"],
            rank_pattern={r"layers\.1\.self_attn\.q_proj": 3, r"^model.layers.0.mlp.down_proj": 5,
                          r"[1-9]\.mlp\.down_proj": 4},
            alpha_pattern={r"model\.layers\.\d+\.self_attn\.(?:v|k)_proj": 7, "o_proj": 9,
                           r"[0-9]{1,2}\.mlp\.down_[a-z]+?": 2.5})
    adapter(expected, "dora", r=2, lora_alpha=3, use_dora=True, target_modules=["o_proj", "k_proj"])
    adapter(expected, "embed_head", r=2, lora_alpha=4,
            target_modules=["embed_tokens", "lm_head", "q_proj"])
    adapter(expected, "saved", r=2, lora_alpha=4, target_modules=["up_proj"],
            modules_to_save=["lm_head", "embed_tokens", "norm", "input_layernorm"])
    adapter(expected, "tied_head", tied=True, r=2, lora_alpha=4, target_modules=["q_proj"],
            modules_to_save=["lm_head"])
    adapter(expected, "one_layer", r=2, lora_alpha=4, target_modules=["gate_proj"],
            layers_to_transform=[1])


def patterns(expected):
    """Which module paths a pattern matches, by PEFT's own function."""
    paths = [
        "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
        "model.layers.10.self_attn.q_proj", "model.layers.1.mlp.down_proj",
        "model.layers.21.mlp.up_proj", "model.embed_tokens", "lm_head",
        "model.language_model.layers.1.self_attn.o_proj",
    ]
    texts = [
        "q_proj", "proj", "q_pro", "self_attn.q_proj", "elf_attn.q_proj", r"layers\.1\..*",
        r"model\.layers\.1\.self_attn\.q_proj", "^model.layers.1.self_attn.q_proj", "^q_proj",
        "q_proj$", r"layers\.[0-9]+\.self_attn\.[qk]_proj", r"layers\.\d{2}\..*", r"\d\..*q_proj",
        r"layers\.(0|1)\.self_attn\.(?:q|o)_proj", "q_proj|lm_head", "lm_head|embed_.*",
        r"(down|up)_proj", r"[^.]+_proj", r"layers\.1.*?proj", r"layers\.1+?\..*", "layers.1??.mlp.*",
        r".*1\.mlp\.\w+", "embed_tokens?", r"lm[_\-]head", "l{1}m_head", "l{0,2}m_head", r"[\d]\.mlp.*",
        r"(layers\.)?1\.mlp\.down_proj", "a)|(lm_head", r"[]_]head|lm[_]head", "x*lm_head", r"lm\_head",
        r"layers\.1{1,}\..*", "(q_proj", "[q", "*q", "q**", r"\bq_proj", r"(?i)Q_PROJ", "(?P<n>q)_proj",
        r"(q)_proj\1", "q++_proj", "q{3000}", "{2}", r"\Sq", "()q_proj",
    ]
    for text in texts:
        try:
            matches = [get_pattern_key([text], path) == text and path != text for path in paths]
        except re.error:
            matches = None
        expected["patterns"].append({"pattern": text, "matches": matches})
    expected["pattern_paths"] = paths


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    expected = {"checkpoints": {}, "rope": {}, "adapters": {}, "patterns": []}
    checkpoints(expected)
    rope(expected)
    adapters(expected)
    patterns(expected)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes target_modules in a set's order
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
