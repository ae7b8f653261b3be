# Tests of tokenizer/
