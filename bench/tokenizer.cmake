# Benches of tokenizer/
