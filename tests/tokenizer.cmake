# Tests of tokenizer/
emt_add_test(NAME test_tokenizer SOURCES test_tokenizer.c tokenizer_files.c LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_unicode SOURCES test_tokenizer_unicode.c LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_files SOURCES test_tokenizer_files.c tokenizer_files.c
  LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_vectors SOURCES test_tokenizer_vectors.c tokenizer_files.c
  LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_chat SOURCES test_tokenizer_chat.c tokenizer_files.c
  LINKS emc_tokenizer)
emt_add_test(NAME test_tokenizer_genes SOURCES test_tokenizer_genes.c tokenizer_files.c
  LINKS emc_tokenizer)
