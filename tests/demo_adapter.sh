# shellcheck shell=bash
# make_adapter BYTES: a folder `adapter` of rank 1 for layer 0's q_proj of the demo model, with the
# same number everywhere: its four bytes as f32 for printf, '\x00\x00\x00\x00' adds nothing.
make_adapter() {
    local layer=base_model.model.model.layers.0.self_attn.q_proj header
    header="{\"$layer.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,192],\"data_offsets\":[0,768]}"
    header+=",\"$layer.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[256,1]"
    header+=",\"data_offsets\":[768,1792]}}"
    while [ $((${#header} % 8)) != 0 ]; do header+=' '; done
    mkdir adapter
    {
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $((${#header} % 256)))\\x$(printf %02x $((${#header} / 256)))"
        head -c 6 /dev/zero
        printf %s "$header"
        # shellcheck disable=SC2059
        for _ in $(seq 448); do printf "$1"; done
    } >adapter/adapter_model.safetensors
    echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}' \
        >adapter/adapter_config.json
}
