/*
 * How fast are text and gene lists tokenised with the vocabulary of Qwen3, on one core?
 *
 * usage: bench_tokenizer [--quick] TOKENIZER_DIR [TEXT_FILE]
 *
 * Without a file the text is made here: words are the vocabulary's own lower-case ones, drawn by
 * Zipf's law in the order of their ids, which follows their frequency; one in eight gets an ending
 * that is no part of it, one in twelve a capital, and there are commas, full stops, numbers and
 * lines. Symbols are made in the manner of real ones. Ends with 77 when the folder is not there.
 */
#include "bench/bench.h"

#include <math.h>
#include <stdint.h>

#include "base/file.h"
#include "tokenizer/gene_table.h"
#include "tokenizer/tokenizer.h"

#define N_WORDS    20000
#define N_GENES    30000
#define GENE_BYTES 40
#define LIST       600 /* genes of a cell */

static uint64_t random_state = 1;

/* xorshift64*, seeded the same every time. */
static double uniform(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (double)(random_state * 0x2545F4914F6CDD1Du >> 11) * 0x1p-53;
}

static int below(int n)
{
    return (int)(uniform() * n);
}

static void check(emc_status status)
{
    if (status != EMC_OK) {
        fprintf(stderr, "%s\n", emc_message());
        exit(1);
    }
}

/* The vocabulary's words of lower-case letters, in the order of their ids. */
static int collect_words(const emc_tokenizer *tok, char (*words)[24])
{
    const int n_tokens = emc_tokenizer_n_tokens(tok);
    emc_text text = {0};
    int n = 0;

    for (int id = 0; id < n_tokens && n < N_WORDS; id++) {
        size_t i = 1;
        emc_text_clear(&text);
        check(emc_tokenizer_decode(tok, &id, 1, false, &text));
        if (text.n < 3 || text.n > 20 || text.bytes[0] != ' ')
            continue;
        while (i < text.n && text.bytes[i] >= 'a' && text.bytes[i] <= 'z')
            i++;
        if (i == text.n)
            memcpy(words[n++], text.bytes, text.n + 1);
    }
    emc_text_free(&text);
    return n;
}

static void make_text(const emc_tokenizer *tok, size_t n_bytes, emc_text *out)
{
    static const char *const endings[] = {"ness", "wise", "like", "less", "ship", "hood"};
    static char words[N_WORDS][24];
    const int n_words = collect_words(tok, words);

    while (n_bytes > 0 && out->n < n_bytes && n_words > 0) {
        char word[48];
        /* By Zipf's law the rank's logarithm is nearly uniform. */
        const int rank = (int)exp(uniform() * log(n_words)) - 1;
        snprintf(word, sizeof word, "%s%s", words[rank], below(8) ? "" : endings[below(6)]);
        if (below(12) == 0)
            word[1] = (char)(word[1] - 'a' + 'A');
        check(emc_text_add_string(out, word));
        if (below(10) == 0)
            check(emc_text_add_string(out, below(2) ? "," : "."));
        if (below(60) == 0)
            check(emc_text_addf(out, " %d", below(3000)));
        if (below(90) == 0)
            check(emc_text_add_string(out, ".\n\n"));
    }
}

/* GATA3, HLA-DRB1, LINC01234, AC012345.1, ... */
static void make_symbol(char out[GENE_BYTES])
{
    const int kind = below(10);
    char stem[8];
    const int n = 2 + below(4);

    for (int i = 0; i < n; i++)
        stem[i] = (char)('A' + below(26));
    stem[n] = '\0';
    if (kind == 0)
        snprintf(out, GENE_BYTES, "LINC0%04d", below(10000));
    else if (kind == 1)
        snprintf(out, GENE_BYTES, "AC%06d.%d", below(1000000), 1 + below(9));
    else if (kind == 2)
        snprintf(out, GENE_BYTES, "%s-%s%d", stem, below(2) ? "A" : "DRB", below(100));
    else
        snprintf(out, GENE_BYTES, "%s%d", stem, 1 + below(40));
}

static void print_row(const char *what, double amount, const char *unit, bench_runs *runs)
{
    printf("| %-34s | %9.2f | %-16s | %8.2f | %5.1f %% |\n", what, amount / bench_median(runs),
           unit, 1e3 * bench_median(runs), 100.0 * bench_spread(runs));
}

static void bench_open(const char *dir, int n_runs)
{
    bench_runs runs = {.n = 0};

    for (int i = 0; i < n_runs; i++) {
        emc_tokenizer *tok;
        const double start = bench_thread_now();
        check(emc_tokenizer_open(&tok, dir));
        bench_add(&runs, bench_thread_now() - start);
        emc_tokenizer_close(tok);
    }
    print_row("open", 1.0, "times/s", &runs);
}

static void bench_text(const char *what, const emc_tokenizer *tok, const char *text, size_t n_bytes,
                       int n_runs)
{
    bench_runs runs = {.n = 0};
    emc_ids ids = {0};

    for (int i = 0; i < n_runs + 1; i++) {
        emc_ids_clear(&ids);
        const double start = bench_thread_now();
        check(emc_tokenizer_encode(tok, text, n_bytes, EMC_TOKENS_ADDED, &ids));
        if (i > 0)
            bench_add(&runs, bench_thread_now() - start);
    }
    print_row(what, 1e-6 * (double)n_bytes, "MB/s", &runs);
    printf("  %zu bytes, %.2f bytes a token\n", n_bytes,
           ids.n ? (double)n_bytes / (double)ids.n : 0.0);
    emc_ids_free(&ids);
}

static void bench_genes(const emc_tokenizer *tok, int n_cells, int n_runs)
{
    static char names[N_GENES][GENE_BYTES];
    static const char *pointers[N_GENES];
    bench_runs runs = {.n = 0}, whole = {.n = 0}, opening = {.n = 0};
    emc_gene_table *table = NULL;
    int32_t *genes = malloc((size_t)n_cells * LIST * sizeof *genes);
    emc_ids ids = {0};
    emc_text text = {0};

    for (int i = 0; i < N_GENES; i++) {
        make_symbol(names[i]);
        pointers[i] = names[i];
    }
    const double opened = bench_thread_now();
    check(emc_gene_table_open(&table, tok, pointers, N_GENES, " "));
    bench_add(&opening, bench_thread_now() - opened);
    for (int i = 0; i < n_cells * LIST; i++)
        genes[i] = below(N_GENES);
    for (int r = 0; r < n_runs + 1; r++) {
        double start = bench_thread_now();
        for (int c = 0; c < n_cells; c++) {
            emc_ids_clear(&ids);
            check(emc_gene_table_append(table, genes + (size_t)c * LIST, LIST, &ids));
        }
        if (r > 0)
            bench_add(&runs, bench_thread_now() - start);
        start = bench_thread_now();
        for (int c = 0; c < n_cells; c++) {
            emc_ids_clear(&ids);
            emc_text_clear(&text);
            check(emc_gene_table_write(table, genes + (size_t)c * LIST, LIST, &text));
            check(emc_tokenizer_encode(tok, text.bytes, text.n, 0, &ids));
        }
        if (r > 0)
            bench_add(&whole, bench_thread_now() - start);
    }
    print_row("gene table: open, 30000 symbols", 1e-6 * N_GENES, "million genes/s", &opening);
    print_row("gene table: append, 600 a cell", 1e-6 * n_cells * LIST, "million genes/s", &runs);
    print_row("the same, tokenised whole", 1e-6 * n_cells * LIST, "million genes/s", &whole);
    emc_gene_table_close(table);
    emc_ids_free(&ids);
    emc_text_free(&text);
    free(genes);
}

int main(int argc, char **argv)
{
    const bool quick = bench_is_quick(argc, argv);
    const char *dir = NULL, *file = NULL;
    emc_tokenizer *tok;
    emc_text text = {0};

    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        if (!dir)
            dir = argv[i];
        else
            file = argv[i];
    }
    if (!dir || !emc_is_directory(dir)) {
        fprintf(stderr, "SKIPPED: no tokenizer folder at %s\n", dir ? dir : "(none given)");
        return 77;
    }
    const int n_runs = quick ? 1 : 7;
    check(emc_tokenizer_open(&tok, dir));
    printf("| %-34s | %9s | %-16s | %8s | %7s |\n", "one core", "rate", "unit", "ms", "spread");
    printf("|---|---:|---|---:|---:|\n");
    bench_open(dir, n_runs);
    make_text(tok, quick ? 100000 : 20000000, &text);
    bench_text("encode, English-like", tok, text.bytes, text.n, n_runs);
    if (file) {
        char *bytes;
        size_t n;
        check(emc_file_read(&bytes, &n, file, (size_t)1 << 30));
        bench_text("encode, the file", tok, bytes, n, n_runs);
        free(bytes);
    }
    emc_text_clear(&text);
    while (text.n < (quick ? 100000u : 1000000u))
        check(emc_text_add_string(&text, "abcdefghij"));
    bench_text("encode, one piece of letters", tok, text.bytes, text.n, n_runs);
    bench_genes(tok, quick ? 10 : 1000, n_runs);
    emc_text_free(&text);
    emc_tokenizer_close(tok);
    return 0;
}
