#include "annotate_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "emt.h"

void watch_progress(void *context, const emc_progress *p)
{
    case_watcher *w = context;

    w->n_calls++;
    assert_true(p->stage >= w->last_stage);
    assert_true(p->n_done >= (p->stage == EMC_STAGE_CELLS ? w->last_done : 0));
    w->last_done = p->n_done;
    w->last_stage = p->stage;
    if (w->cancel_at >= 0 && p->stage == EMC_STAGE_CELLS && p->n_done >= w->cancel_at)
        w->cancel = 1;
}

void watch_log(void *context, const char *line)
{
    case_watcher *w = context;

    w->n_logs++;
    snprintf(w->last_log, sizeof(w->last_log), "%s", line);
    assert_null(strchr(line, '\n'));
}

/* Paths of emt.h are good for a few calls only. */
const char *case_keep(const char *path)
{
    static char paths[64][512];
    static int n;
    char *kept = paths[n++ % 64];

    snprintf(kept, sizeof(paths[0]), "%s", path);
    return kept;
}

emc_annotate_options case_options(const char *input, const char *output)
{
    emc_annotate_options o;

    emc_annotate_defaults(&o);
    o.input_path = case_keep(input);
    o.results.output_path = case_keep(output);
    o.force = true; /* tests write the same names again */
    o.shard_cells = 16;
    o.model.model_dir = case_keep(emt_golden("annotate/model"));
    o.model.dtype = EMC_DTYPE_FLOAT32;
    o.model.n_threads = 1;
    o.max_num_batched_tokens = 512;
    return o;
}

void case_annotate(const emc_annotate_options *o)
{
    emc_annotate_summary *summary;

    EMT_OK(emc_annotate(&summary, o));
    emc_annotate_summary_close(summary);
}

const char *case_model_with_context(int n)
{
    static const char *const files[] = {"model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json"};
    const char *dir = case_keep(emt_temp("short_model"));
    char path[1024], target[1024];
    size_t size;
    emc_text config = {0};

    mkdir(dir, 0700);
    for (size_t i = 0; i < EMC_COUNT(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        snprintf(target, sizeof(target), "%s/%s", emt_golden("annotate/model"), files[i]);
        char *whole = realpath(target, NULL);
        unlink(path);
        assert_int_equal(symlink(whole, path), 0);
        free(whole);
    }
    char *text = emt_read(emt_golden("annotate/model/config.json"), &size);
    char *at = strstr(text, "\"max_position_embeddings\": 2048");
    assert_non_null(at);
    EMT_OK(emc_text_add(&config, text, (size_t)(at - text)));
    EMT_OK(emc_text_addf(&config, "\"max_position_embeddings\": %d", n));
    EMT_OK(emc_text_add_string(&config, at + strlen("\"max_position_embeddings\": 2048")));
    emt_write("short_model/config.json", config.bytes, config.n);
    emc_text_free(&config);
    free(text);
    return dir;
}

static void unquote(char *field)
{
    char *to = field;

    for (const char *c = field + 1; *c; c++) {
        if (*c == '"')
            c++; /* the second of two, or the end */
        if (!*c)
            break;
        *to++ = *c;
    }
    *to = '\0';
}

int case_split(char *line, char **fields)
{
    int n = 0;

    for (char *next = line; next && n < MAX_FIELDS; n++) {
        fields[n] = next;
        next = strchr(next, '\t');
        if (next)
            *next++ = '\0';
        if (fields[n][0] == '"')
            unquote(fields[n]);
    }
    return n;
}

char *case_next_line(char **cursor)
{
    char *line = *cursor, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *cursor = end + 1;
    return line;
}
