#include "annotate/work.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/part.h"
#include "annotate/progress.h"
#include "annotate/shard.h"
#include "annotate/shard_parse.h"
#include "base/size.h"
#include "base/text.h"

/* Shards that this process holds at once: one that is read, one in the engine, one half answered.
 * Of small ones more, up to so many cells, for the engine is to stay full across their borders. */
#define HELD_SHARDS 3
#define HELD_CELLS  256

#define ASK_EVERY 1.0 /* seconds between looks at what others have left */

#define MAX_TOLD 5 /* failed cells; the results have them all */

/* What there is of a shard that was claimed: its part, or why that is of no use. */
typedef struct begun {
    struct begun *next;
    int64_t shard;
    emc_shard *part; /* NULL: the message says why not */
    int64_t n;       /* its cells */
    char message[512];
} begun;

typedef struct {
    emc_work *work;
    emc_shard_writer *writer; /* of the shard whose cells come back */
    int64_t shard;            /* that one */
    int64_t shard_cells;      /* its cells */
    int64_t n_from_parts;     /* cells that other processes have answered */
    bool input_changed;
    emc_flow flow;
    double *probs;     /* [n_labels] of one cell */
    float *kept_probs; /* [n_labels], as a shard keeps them */
    emc_text raw_text; /* of one cell */
    emc_progress_meter meter;
    int64_t n_failed;
    struct stat input; /* as it was opened */

    /* Claims are taken by the thread that reads, and end on the one that gathers. */
    pthread_mutex_t lock;
    int64_t held_shards, held_cells;
    begun *begun; /* of the shards that are held */
    bool changed; /* a claim of this process ended since the ledger was last asked */
    double next_ask;
} state;

/* ---- what to read next ---- */

/* A shard begins behind its part. One that cannot be used is removed, and told of by the thread
 * that gathers. */
static emc_status look_for_part(state *s, emc_range *range)
{
    begun *found = NULL;

    EMC_TRY(emc_alloc(&found, 1, sizeof(*found), "a part"));
    found->shard = range->shard;
    const emc_status status = emc_part_open(&found->part, &found->n, s->work->run_dir,
                                            s->work->plan, s->work->session->input, range->shard);
    if (status == EMC_ERR_NOT_FOUND || status == EMC_ERR_NOMEM) {
        free(found);
        return status == EMC_ERR_NOMEM ? status : EMC_OK;
    }
    found->next = s->begun;
    s->begun = found;
    if (status != EMC_OK) {
        snprintf(found->message, sizeof(found->message), "%s", emc_message());
        (void)emc_ledger_drop_part(s->work->ledger, range->shard);
        found->n = 0;
    }
    range->first += found->n;
    range->n -= found->n;
    return EMC_OK;
}

static emc_status claim(state *s, emc_range *range, emc_range_outcome *outcome)
{
    emc_claim got;
    emc_shard_head head;

    *outcome = EMC_RANGE_WAIT;
    if (s->held_shards >= HELD_SHARDS && s->held_cells >= HELD_CELLS)
        return EMC_OK;
    if (!s->changed && emc_seconds() < s->next_ask)
        return EMC_OK;
    EMC_TRY(emc_ledger_claim(s->work->ledger, &range->shard, &got));
    if (got == EMC_CLAIM_FINISHED) {
        *outcome = EMC_RANGE_END;
    } else if (got == EMC_CLAIM_WAIT) {
        s->changed = false;
        s->next_ask = emc_seconds() + ASK_EVERY;
    } else {
        emc_plan_shard(s->work->plan, range->shard, &head);
        range->first = head.first;
        range->n = head.n_cells;
        EMC_TRY(look_for_part(s, range));
        s->held_shards++;
        s->held_cells += range->n;
        *outcome = EMC_RANGE_GOT;
    }
    return EMC_OK;
}

static emc_status next_range(void *context, emc_range *range, emc_range_outcome *outcome)
{
    state *s = context;

    pthread_mutex_lock(&s->lock);
    const emc_status status = claim(s, range, outcome);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static void let_go(state *s, const emc_range *range)
{
    pthread_mutex_lock(&s->lock);
    s->held_shards--;
    s->held_cells -= range->n;
    s->changed = true;
    pthread_mutex_unlock(&s->lock);
}

/* ---- what came back ---- */

static void free_begun(begun *found)
{
    if (found)
        emc_shard_close(found->part);
    free(found);
}

/* What is known of a shard that was claimed; NULL when there was no part. The caller's. */
static begun *take_begun(state *s, int64_t shard)
{
    begun **at = &s->begun;

    pthread_mutex_lock(&s->lock);
    while (*at && (*at)->shard != shard)
        at = &(*at)->next;
    begun *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&s->lock);
    return found;
}

static emc_status tell_of_part(const state *s, const begun *found)
{
    emc_text line = {0};
    emc_status status;

    if (found->part)
        status = emc_text_addf(&line, "shard %lld goes on behind the %lld cells that are answered",
                               (long long)found->shard, (long long)found->n);
    else
        status =
            emc_text_addf(&line, "%s; it is removed, its cells are asked again", found->message);
    if (status == EMC_OK)
        emc_session_log(s->work->session, line.bytes);
    emc_text_free(&line);
    return status;
}

static emc_status add_part(state *s, const begun *found)
{
    EMC_TRY(tell_of_part(s, found));
    for (int64_t i = 0; i < found->n; i++) {
        emc_result_row row;
        emc_shard_get(found->part, i, &row);
        EMC_TRY(emc_shard_writer_add(s->writer, &row));
    }
    s->n_from_parts += found->n;
    return EMC_OK;
}

static emc_status begin_shard(state *s, int64_t shard)
{
    begun *found = take_begun(s, shard);
    emc_shard_head head;

    emc_plan_shard(s->work->plan, shard, &head);
    emc_status status = emc_shard_writer_open(&s->writer, &head);
    s->shard = shard;
    s->shard_cells = head.n_cells;
    if (status == EMC_OK && found)
        status = add_part(s, found);
    free_begun(found);
    return status;
}

static emc_status stream_out(state *s, int64_t shard, const void *bytes, size_t n_bytes)
{
    emc_shard_head head;
    emc_shard *rows;

    emc_plan_shard(s->work->plan, shard, &head);
    EMC_TRY(emc_shard_parse(&rows, bytes, n_bytes, "a shard", &head));
    const emc_status status = emc_stream_add(s->work->stream, shard, rows);
    emc_shard_close(rows);
    return status;
}

static emc_status publish(state *s, const emc_range *range)
{
    const void *bytes;
    size_t n_bytes;

    EMC_TRY(emc_shard_writer_bytes(s->writer, &bytes, &n_bytes));
    EMC_TRY(emc_ledger_publish(s->work->ledger, range->shard, bytes, n_bytes));
    if (s->work->stream)
        EMC_TRY(stream_out(s, range->shard, bytes, n_bytes));
    let_go(s, range);
    emc_shard_writer_close(s->writer);
    s->writer = NULL;
    return EMC_OK;
}

/* A file that went away or was written to is not a bad shard: every other would fail, too. */
static emc_status check_input(state *s)
{
    const char *path = s->work->session->options->input_path;
    struct stat now;

    s->input_changed = true;
    if (stat(path, &now) != 0)
        return emc_fail(EMC_ERR_IO, "%s: gone while it was read (%s); put it back", path,
                        strerror(errno));
    if (S_ISREG(s->input.st_mode) &&
        (now.st_size != s->input.st_size || now.st_ino != s->input.st_ino ||
         now.st_mtim.tv_sec != s->input.st_mtim.tv_sec ||
         now.st_mtim.tv_nsec != s->input.st_mtim.tv_nsec))
        return emc_fail(EMC_ERR_IO, "%s: changed while it was read; put back what it was", path);
    s->input_changed = false;
    return EMC_OK;
}

static emc_status give_up(state *s, const emc_item *item)
{
    emc_text line = {0};
    bool parked;

    emc_shard_writer_close(s->writer);
    s->writer = NULL;
    free_begun(take_begun(s, item->range.shard));
    EMC_TRY(check_input(s));
    EMC_TRY(emc_ledger_fail(s->work->ledger, item->range.shard, item->message.bytes, &parked));
    let_go(s, &item->range);
    emc_status status = emc_text_addf(
        &line, "shard %lld failed%s: %s", (long long)item->range.shard,
        parked ? " for the last time, its cells have no results" : "", item->message.bytes);
    if (status == EMC_OK)
        emc_session_log(s->work->session, line.bytes);
    emc_text_free(&line);
    return status;
}

/* A C string: a model may write NUL, which no table holds. */
static emc_status decode(state *s, const emc_item *item)
{
    emc_text_clear(&s->raw_text);
    EMC_TRY(emc_tokenizer_decode(s->work->session->tokenizer, item->generated.ids,
                                 item->generated.n, true, &s->raw_text));
    for (size_t i = 0; i < s->raw_text.n; i++) {
        if (s->raw_text.bytes[i] == '\0')
            s->raw_text.bytes[i] = ' ';
    }
    return emc_text_add(&s->raw_text, "", 0);
}

static emc_status judge(state *s, const emc_item *item, emc_result_row *row)
{
    const emc_session *session = s->work->session;
    const int n = emc_labels_count(session->labels);

    if (item->status != EMC_CELL_OK) {
        emc_verdict_not_asked(&row->verdict, item->status, item->reason);
        return EMC_OK;
    }
    if (session->answer == EMC_ANSWER_GENERATE) {
        EMC_TRY(decode(s, item));
        row->raw_text = s->raw_text.n > 0 ? s->raw_text.bytes : "";
        return emc_verdict_from_text(&row->verdict, session->labels, row->raw_text, s->raw_text.n,
                                     item->ended);
    }
    /* What the greedy way leads to need not be the best, though all are known. */
    const bool whole = item->found.complete && session->answer != EMC_ANSWER_GREEDY;
    if (whole)
        emc_verdict_from_scores(&row->verdict, item->scores, n, &session->thresholds, s->probs);
    else
        emc_verdict_from_found(&row->verdict, &item->found, &session->thresholds);
    if (row->verdict.status == EMC_CELL_FAILED)
        return EMC_OK;
    if (s->work->plan->invalid_mass)
        row->verdict.invalid_mass = (item->found.outside_low + item->found.outside_high) / 2;
    if (s->work->plan->probabilities && whole) {
        for (int i = 0; i < n; i++)
            s->kept_probs[i] = (float)s->probs[i];
        row->probs = s->kept_probs;
    }
    return EMC_OK;
}

static void tell_failure(state *s, const emc_item *item)
{
    if (item->status != EMC_CELL_FAILED || ++s->n_failed > MAX_TOLD || item->message.n == 0)
        return;
    emc_session_log(s->work->session, item->message.bytes);
    if (s->n_failed == MAX_TOLD)
        emc_session_log(s->work->session, "further cells that fail stand in the results only");
}

/* last: whatever was shown before. */
static void show_progress(state *s, bool last)
{
    const emc_annotate_options *o = s->work->session->options;
    const emc_plan *plan = s->work->plan;
    /* What others answered of begun shards came at once, which is no speed. */
    const int64_t n_cells = plan->n_cells - s->n_from_parts;
    int64_t done = s->work->n_done_before + s->work->n_answered;
    emc_flow_view view;
    emc_progress progress;
    const double now = emc_seconds();

    /* Cells of a shard that was tried again, or that another finished first, came twice. */
    if (done > n_cells)
        done = n_cells;
    emc_flow_look(&s->flow, now, &view);
    const bool show = emc_progress_step(&s->meter, now, done, n_cells, &progress);
    emc_progress_flow(&s->meter, now, s->work->begin, &view, &progress);
    progress.n_done += s->n_from_parts;
    progress.n_total += s->n_from_parts;
    if (!show && !last)
        return;
    if (o->on_progress)
        o->on_progress(o->context, &progress);
    emc_ledger_report(s->work->ledger, s->work->n_answered, progress.cells_per_s);
}

static emc_status keep(state *s, const emc_item *item)
{
    emc_result_row row = {.row = item->row,
                          .cell_id = item->cell_id.bytes,
                          .n_genes = item->n_genes,
                          .n_tokens = (int)item->prompt.ids.n};

    if (!s->writer)
        EMC_TRY(begin_shard(s, item->range.shard));
    EMC_TRY(judge(s, item, &row));
    EMC_TRY(emc_shard_writer_add(s->writer, &row));
    if (emc_shard_writer_n(s->writer) == s->shard_cells)
        return publish(s, &item->range);
    return EMC_OK;
}

static emc_status take_item(void *context, const emc_item *item)
{
    state *s = context;

    if (item->broken)
        return give_up(s, item);
    EMC_TRY(keep(s, item));
    tell_failure(s, item);
    s->work->n_answered++;
    if (item->status == EMC_CELL_OK) {
        s->work->n_asked++;
        s->work->n_prompt_tokens += (int64_t)item->prompt.ids.n;
    }
    show_progress(s, false);
    return EMC_OK;
}

/* ---- the end ---- */

/* The device, the disk or a signal say nothing of the answers so far; a changed input does. */
static bool is_worth_keeping(const state *s, emc_status status)
{
    return s->writer && emc_shard_writer_n(s->writer) > 0 &&
           emc_shard_writer_n(s->writer) < s->shard_cells && !s->input_changed &&
           (status == EMC_ERR_CANCELLED || status == EMC_ERR_DEVICE || status == EMC_ERR_LOST ||
            status == EMC_ERR_IO);
}

static emc_status write_part(state *s)
{
    const void *bytes;
    size_t n_bytes;

    EMC_TRY(emc_shard_writer_cut(s->writer));
    EMC_TRY(emc_shard_writer_bytes(s->writer, &bytes, &n_bytes));
    return emc_ledger_keep_part(s->work->ledger, s->shard, bytes, n_bytes);
}

/* Leaves the message of what ended the work. */
static void keep_part(state *s, emc_status status)
{
    char why[1024];
    emc_text line = {0};

    if (!is_worth_keeping(s, status))
        return;
    snprintf(why, sizeof(why), "%s", emc_message());
    if (write_part(s) != EMC_OK) {
        if (emc_text_addf(&line, "the answered cells of shard %lld are lost: %s",
                          (long long)s->shard, emc_message()) == EMC_OK)
            emc_session_log(s->work->session, line.bytes);
        emc_text_free(&line);
    }
    emc_fail(status, "%s", why);
}

static emc_status open_state(state *s)
{
    const emc_session *session = s->work->session;
    const char *path = session->options->input_path;
    const size_t n = (size_t)emc_labels_count(session->labels);

    EMC_TRY(emc_alloc(&s->probs, n, sizeof(*s->probs), "probabilities"));
    EMC_TRY(emc_alloc(&s->kept_probs, n, sizeof(*s->kept_probs), "probabilities"));
    if (stat(path, &s->input) != 0)
        return emc_fail(EMC_ERR_IO, "%s: gone since it was opened (%s)", path, strerror(errno));
    return EMC_OK;
}

static void tell_failed_replica(void *context, const char *message, int n_left)
{
    const state *s = context;
    char line[1200];

    snprintf(line, sizeof(line), "%s; its cells go to %d other%s", message, n_left,
             n_left == 1 ? "" : "s");
    emc_session_log(s->work->session, line);
}

emc_status emc_work_run(emc_work *work)
{
    state s = {.work = work, .changed = true};
    emc_pipeline pipeline = emc_session_pipeline(work->session);

    pipeline.next = next_range;
    pipeline.each = take_item;
    pipeline.on_failed_replica = work->session->options->keep_going ? tell_failed_replica : NULL;
    pipeline.context = &s;
    pipeline.flow = &s.flow;
    pthread_mutex_init(&s.lock, NULL);
    emc_flow_begin(&s.flow, emc_seconds());
    emc_status status = open_state(&s);
    if (status == EMC_OK)
        status = emc_pipeline_run(&pipeline);
    show_progress(&s, true);
    keep_part(&s, status);
    emc_flow_look(&s.flow, emc_seconds(), &work->flow);
    emc_flow_end(&s.flow);
    while (s.begun) {
        begun *next = s.begun->next;
        free_begun(s.begun);
        s.begun = next;
    }
    emc_shard_writer_close(s.writer);
    emc_text_free(&s.raw_text);
    free(s.probs);
    free(s.kept_probs);
    pthread_mutex_destroy(&s.lock);
    return status;
}
