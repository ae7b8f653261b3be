/*
 * Many requests under way at once, on one thread: libcurl's multi interface. A slot holds one
 * question from its first try to its last, so that no more is waiting than is asked at once.
 */

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "base/size.h"

#define MOST_BODY    ((size_t)16 << 20)
#define MOST_POLL_MS 100 /* cancel is seen within so long */
#define ALIKE        5   /* so many refused alike at the start, and the endpoint is at fault */
#define DEAD         10  /* so many without a connection one behind the other */
#define MOST_NOTES   20  /* of waits and tries, told in one pass */

typedef enum { SLOT_FREE, SLOT_WAITS, SLOT_RUNS } slot_state;

typedef struct {
    slot_state state;
    int question, n_tries;
    double due, began;
    emc_random random;
    emc_hash hash;
    CURL *easy;
    emc_text body, came;
    bool too_long;
    emc_status failed; /* of memory, while an answer came */
    char error[CURL_ERROR_SIZE];
} slot;

typedef struct {
    const endpoint_run *run;
    CURLM *multi;
    struct curl_slist *headers;
    slot *slots;
    int n_slots, next; /* question */
    endpoint_pace pace;
    endpoint_answer answer;
    emc_text line, first_refusal;
    int n_alike, n_dead, n_notes;
    bool answered; /* something good came, now or earlier */
} pool;

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void note(pool *p, const char *text)
{
    const emc_pass *pass = p->run->pass;

    if (pass->on_log && p->n_notes++ < MOST_NOTES)
        pass->on_log(pass->context, text);
}

/* --- one request --- */

static size_t on_bytes(char *bytes, size_t size, size_t n, void *context)
{
    slot *s = context;

    if (n * size > MOST_BODY - s->came.n) {
        s->too_long = true;
        return 0;
    }
    s->failed = emc_text_add(&s->came, bytes, n * size);
    return s->failed == EMC_OK ? n * size : 0;
}

static emc_status make_headers(pool *p)
{
    const char *key = p->run->key;
    emc_text line = {0};
    struct curl_slist *grown = curl_slist_append(NULL, "Content-Type: application/json");

    p->headers = grown;
    if (grown)
        grown = curl_slist_append(p->headers, "Accept: application/json");
    if (grown) /* no wait for a 100 before the body */
        grown = curl_slist_append(p->headers, "Expect:");
    if (grown && key) {
        grown = emc_text_addf(&line, "Authorization: Bearer %s", key) == EMC_OK
                    ? curl_slist_append(p->headers, line.bytes)
                    : NULL;
        if (line.bytes)
            explicit_bzero(line.bytes, line.n);
        emc_text_free(&line);
    }
    return grown ? EMC_OK : emc_fail(EMC_ERR_NOMEM, "no memory for a request");
}

static emc_status prepare(pool *p, slot *s)
{
    const endpoint_settings *o = p->run->settings;
    CURL *c = s->easy = curl_easy_init();
    bool good = c != NULL;

    good = good && curl_easy_setopt(c, CURLOPT_URL, o->url) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    /* A redirect could take the key to another host. */
    good = good && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_HTTPHEADER, p->headers) == CURLE_OK;
    /* The key goes to the endpoint, never to a proxy before it. */
    good = good && curl_easy_setopt(c, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_USERAGENT, "emcell") == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, lround(o->timeout * 1000)) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                                    lround(fmin(o->timeout, 20) * 1000)) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_WRITEDATA, s) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->error) == CURLE_OK;
    good = good && curl_easy_setopt(c, CURLOPT_PRIVATE, s) == CURLE_OK;
    return good ? EMC_OK
                : emc_fail(EMC_ERR_INTERNAL, "endpoint %s: libcurl refuses its settings", o->name);
}

static emc_status start(pool *p, slot *s, double now)
{
    emc_text_clear(&s->came);
    s->too_long = false;
    s->failed = EMC_OK;
    s->error[0] = '\0';
    s->began = now;
    s->state = SLOT_RUNS;
    s->n_tries++;
    p->run->usage->n_requests++;
    p->run->usage->n_retries += s->n_tries > 1;
    endpoint_pace_take(&p->pace, now);
    if (curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)s->body.n) != CURLE_OK ||
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->body.bytes) != CURLE_OK ||
        curl_multi_add_handle(p->multi, s->easy) != CURLM_OK)
        return emc_fail(EMC_ERR_INTERNAL, "endpoint %s: libcurl refuses a request",
                        p->run->settings->name);
    return EMC_OK;
}

/* --- the next question --- */

/* Takes questions until one is to be sent, or none is left. */
static emc_status fill_slot(pool *p, slot *s)
{
    const endpoint_run *run = p->run;
    const emc_pass *pass = run->pass;

    while (p->next < pass->n_questions && s->state == SLOT_FREE) {
        bool found = false;
        endpoint_ask ask;
        if (pass->cancel && *pass->cancel)
            return EMC_OK; /* before a question is taken, or it would count as asked */
        const int question = p->next++;
        EMC_TRY(endpoint_write(run->writer, question, &ask, &s->body));
        if (ask == ENDPOINT_TOO_FEW) {
            EMC_TRY(pass->on_prediction(
                pass->context, question,
                &(emc_prediction){.outcome = EMC_OUTCOME_UNKNOWN, .label = -1, .score = NAN}));
            continue;
        }
        if (ask == ENDPOINT_CANNOT) {
            EMC_TRY(endpoint_tell_failed(run, question, 0, emc_message()));
            continue;
        }
        s->hash = endpoint_request_hash(run->settings, &s->body);
        if (run->cache_dir)
            EMC_TRY(endpoint_cache_get(&p->answer, &found, run->cache_dir, &s->hash));
        if (found) {
            run->usage->n_cached++;
            p->answered = true;
            EMC_TRY(endpoint_tell(run, question, &p->answer, 0, 0));
            continue;
        }
        s->question = question;
        s->n_tries = 0;
        s->due = 0;
        s->random = emc_random_of(pass->seed, s->hash.bytes, sizeof s->hash.bytes);
        s->state = SLOT_WAITS;
    }
    return EMC_OK;
}

/* --- what came of a request --- */

static emc_status take_answer(pool *p, slot *s, double now)
{
    const endpoint_run *run = p->run;
    emc_system_usage *u = run->usage;

    p->n_dead = 0;
    u->n_answers++;
    u->n_thoughts += p->answer.has_thoughts;
    u->n_untold += !p->answer.told;
    u->n_prompt_tokens += p->answer.n_prompt_tokens;
    u->n_answer_tokens += p->answer.n_answer_tokens;
    u->cost += 1e-6 * (p->answer.n_prompt_tokens * run->settings->price_in +
                       p->answer.n_answer_tokens * run->settings->price_out);
    if (run->cache_dir && !p->answered)
        EMC_TRY(endpoint_cache_mark(run->cache_dir, run->settings));
    p->answered = true;
    if (run->cache_dir)
        EMC_TRY(endpoint_cache_put(run->cache_dir, &s->hash, &p->answer));
    s->state = SLOT_FREE;
    return endpoint_tell(run, s->question, &p->answer, s->n_tries, now - s->began);
}

static emc_status give_up(pool *p, slot *s, const char *error)
{
    s->state = SLOT_FREE;
    return endpoint_tell_failed(p->run, s->question, s->n_tries, error);
}

/* Another try, or none is left. p->line says what went wrong. */
static emc_status try_again(pool *p, slot *s, double now, double asked)
{
    const endpoint_settings *o = p->run->settings;
    emc_text told = {0};

    if (s->n_tries >= o->max_tries)
        return give_up(p, s, p->line.bytes);
    const double wait = endpoint_wait(o, s->n_tries, asked, &s->random);
    s->state = SLOT_WAITS;
    s->due = now + wait;
    if (asked > 0 && s->due > p->pace.paused)
        p->pace.paused = s->due;
    emc_status status = emc_text_addf(&told, "%s: %s; try %d of %d in %.3g s", o->name,
                                      p->line.bytes, s->n_tries + 1, (int)o->max_tries, wait);
    if (status == EMC_OK && asked > 0)
        status = emc_text_addf(&told, ", %.0f s were asked for", asked);
    if (status == EMC_OK)
        note(p, told.bytes);
    emc_text_free(&told);
    return status;
}

/* Nothing came, or not all. */
static emc_status take_failure(pool *p, slot *s, CURLcode code, double now)
{
    const endpoint_settings *o = p->run->settings;
    const bool unreachable = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
                             code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_SSL_CONNECT_ERROR;
    const char *why = s->error[0] ? s->error : curl_easy_strerror(code);

    EMC_TRY(s->failed);
    emc_text_clear(&p->line);
    if (s->too_long) {
        EMC_TRY(emc_text_addf(&p->line, "an answer of more than %zu MiB", MOST_BODY >> 20));
        return give_up(p, s, p->line.bytes);
    }
    EMC_TRY(emc_text_addf(&p->line, "%s", why));
    EMC_TRY(endpoint_blot(&p->line, p->run->key));
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
        code == CURLE_UNSUPPORTED_PROTOCOL)
        return emc_fail(EMC_ERR_CONFIG, "endpoint %s: %s: %s", o->name, o->url, p->line.bytes);
    if (s->n_tries >= o->max_tries && unreachable && (!p->answered || ++p->n_dead >= DEAD))
        return emc_fail(EMC_ERR_IO, "endpoint %s: nothing answers at %s after %d tries: %s",
                        o->name, o->url, s->n_tries, p->line.bytes);
    return try_again(p, s, now, 0);
}

/* p->line becomes the status and what the endpoint says about it. */
static emc_status say_status(pool *p, const slot *s, long code)
{
    emc_text_clear(&p->line);
    EMC_TRY(emc_text_addf(&p->line, "HTTP %ld: ", code));
    const size_t n = p->line.n;
    EMC_TRY(endpoint_error_text(&p->line, s->came.bytes, s->came.n, p->run->key));
    return p->line.n > n ? EMC_OK : emc_text_add_string(&p->line, "no reason is given");
}

/* A request that will never be answered otherwise. Where all are refused alike from the start on,
 * the endpoint or its options are at fault, not the items. */
static emc_status take_refusal(pool *p, slot *s, long code)
{
    const endpoint_settings *o = p->run->settings;

    EMC_TRY(say_status(p, s, code));
    if (code == 401 || code == 402 || code == 403)
        return emc_fail(EMC_ERR_CONFIG, "endpoint %s: %s %s: %s", o->name, o->url,
                        code == 402 ? "wants to be paid" : "refuses the key", p->line.bytes);
    if (p->n_alike == 0)
        EMC_TRY(emc_text_add_string(&p->first_refusal, p->line.bytes));
    p->n_alike += strcmp(p->first_refusal.bytes, p->line.bytes) == 0;
    EMC_TRY(give_up(p, s, p->line.bytes));
    if (!p->answered && p->n_alike >= ALIKE)
        return emc_fail(EMC_ERR_CONFIG, "endpoint %s: %s refuses every request alike: %s", o->name,
                        o->url, p->line.bytes);
    return EMC_OK;
}

static emc_status take_response(pool *p, slot *s, double now)
{
    curl_off_t asked = 0;
    long code = 0;

    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(s->easy, CURLINFO_RETRY_AFTER, &asked); /* seconds or a date */
    emc_text_clear(&p->line);
    if (code >= 200 && code < 300) {
        const emc_status status = endpoint_answer_read(
            &p->answer, s->came.bytes ? s->came.bytes : "", s->came.n, p->run->key);
        if (status == EMC_OK)
            return take_answer(p, s, now);
        if (status != EMC_ERR_FORMAT)
            return status;
        EMC_TRY(emc_text_addf(&p->line, "HTTP %ld, but %s", code, emc_message()));
        return try_again(p, s, now, 0);
    }
    if (code == 408 || code == 409 || code == 425 || code == 429 || code >= 500) {
        EMC_TRY(say_status(p, s, code));
        return try_again(p, s, now, (double)asked);
    }
    return take_refusal(p, s, code);
}

static emc_status take_done(pool *p)
{
    int n_left;
    CURLMsg *message;

    while ((message = curl_multi_info_read(p->multi, &n_left))) {
        slot *s = NULL;
        CURL *easy = message->easy_handle;
        const CURLcode code = message->data.result;
        const double now = now_seconds();
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&s);
        curl_multi_remove_handle(p->multi, easy); /* the message is gone with it */
        if (code == CURLE_OK)
            p->n_dead = 0;
        EMC_TRY(code == CURLE_OK ? take_response(p, s, now) : take_failure(p, s, code, now));
    }
    return EMC_OK;
}

/* --- all of them --- */

/* Starts what may start; *wait_ms is how long nothing else will be due. */
static emc_status start_due(pool *p, int *wait_ms)
{
    const double now = now_seconds();
    double soonest = now + 1e-3 * MOST_POLL_MS;

    for (int i = 0; i < p->n_slots; i++) {
        slot *s = &p->slots[i];
        if (s->state != SLOT_WAITS)
            continue;
        const double due = fmax(s->due, endpoint_pace_due(&p->pace));
        if (due <= now)
            EMC_TRY(start(p, s, now));
        else
            soonest = fmin(soonest, due);
    }
    *wait_ms = (int)ceil(1e3 * (soonest - now));
    return EMC_OK;
}

static bool is_idle(const pool *p)
{
    for (int i = 0; i < p->n_slots; i++)
        if (p->slots[i].state != SLOT_FREE)
            return false;
    return p->next >= p->run->pass->n_questions;
}

static emc_status go_on(pool *p)
{
    const emc_pass *pass = p->run->pass;
    int n_running, wait_ms;

    for (;;) {
        if (pass->cancel && *pass->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        for (int i = 0; i < p->n_slots; i++)
            EMC_TRY(fill_slot(p, &p->slots[i]));
        if (is_idle(p))
            return EMC_OK;
        EMC_TRY(start_due(p, &wait_ms));
        if (curl_multi_perform(p->multi, &n_running) != CURLM_OK)
            return emc_fail(EMC_ERR_IO, "endpoint %s: libcurl failed", p->run->settings->name);
        EMC_TRY(take_done(p));
        bool has_free = false;
        for (int i = 0; i < p->n_slots; i++)
            has_free |= p->slots[i].state == SLOT_FREE && p->next < pass->n_questions;
        if (!has_free && !is_idle(p) &&
            curl_multi_poll(p->multi, NULL, 0, wait_ms, NULL) != CURLM_OK)
            return emc_fail(EMC_ERR_IO, "endpoint %s: libcurl failed", p->run->settings->name);
    }
}

static emc_status open_pool(pool *p)
{
    const int64_t n = p->run->settings->concurrency;

    p->n_slots = n < p->run->pass->n_questions ? (int)n : p->run->pass->n_questions;
    p->pace.per_minute = p->run->settings->per_minute;
    EMC_TRY(emc_alloc(&p->slots, (size_t)p->n_slots + 1, sizeof *p->slots, "requests"));
    p->multi = curl_multi_init();
    if (!p->multi)
        return emc_fail(EMC_ERR_NOMEM, "no memory for requests");
    if (p->run->cache_dir)
        EMC_TRY(endpoint_cache_marked(&p->answered, p->run->cache_dir, p->run->settings));
    EMC_TRY(make_headers(p));
    for (int i = 0; i < p->n_slots; i++)
        EMC_TRY(prepare(p, &p->slots[i]));
    return EMC_OK;
}

static void close_pool(pool *p)
{
    for (int i = 0; i < p->n_slots && p->slots; i++) {
        if (p->slots[i].state == SLOT_RUNS)
            curl_multi_remove_handle(p->multi, p->slots[i].easy);
        curl_easy_cleanup(p->slots[i].easy);
        emc_text_free(&p->slots[i].body);
        emc_text_free(&p->slots[i].came);
    }
    curl_multi_cleanup(p->multi);
    for (struct curl_slist *at = p->headers; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(p->headers);
    endpoint_answer_free(&p->answer);
    emc_text_free(&p->line);
    emc_text_free(&p->first_refusal);
    free(p->slots);
}

emc_status endpoint_ask_all(const endpoint_run *run)
{
    pool p = {.run = run};

    if (run->pass->n_questions == 0)
        return EMC_OK;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return emc_fail(EMC_ERR_INTERNAL, "libcurl does not start");
    emc_status status = open_pool(&p);
    if (status == EMC_OK)
        status = go_on(&p);
    close_pool(&p);
    curl_global_cleanup();
    return status;
}
