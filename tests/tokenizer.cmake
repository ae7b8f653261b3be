# Tests of tokenizer/
emt_add_test(NAME test_tokenizer SOURCES test_tokenizer.c tokenizer_files.c LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_unicode SOURCES test_tokenizer_unicode.c LINKS emc_tokenizer)
