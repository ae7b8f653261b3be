#pragma once
/* Inside evaluate/: the parts of a system of kind "endpoint". */

#include <sys/types.h>

#include "annotate/evaluate/system.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- endpoint_options.c: the file of options --- */

typedef enum {
    ENDPOINT_FREE,          /* "none" */
    ENDPOINT_GUIDED_CHOICE, /* "guided_choice": a member of the body with the labels */
    ENDPOINT_JSON_SCHEMA    /* "json_schema": response_format with the labels */
} endpoint_structured;

typedef struct {
    cJSON *tree; /* behind the strings */
    const char *name, *model, *key_variable, *key_file, *currency;
    char *url; /* whole */
    int64_t concurrency, max_tries, max_tokens;
    double per_minute;            /* 0: as many as go */
    double timeout;               /* seconds, of one try */
    double backoff, longest_wait; /* seconds before the second try; before any */
    double temperature;           /* NaN: not sent */
    double price_in, price_out;   /* of a million tokens; NaN: not told */
    const cJSON *body;            /* further members of a request; NULL */
    endpoint_structured structured;
} endpoint_settings;

/* EMC_ERR_NOT_FOUND, EMC_ERR_FORMAT, EMC_ERR_CONFIG: one line with the file and the key. */
emc_status endpoint_settings_read(endpoint_settings *out, const char *path);
void endpoint_settings_free(endpoint_settings *settings);

/* The key of a file, without blanks around it. EMC_ERR_CONFIG: others may read the file, or what
 * it holds cannot be a key. Owned, free(). */
emc_status endpoint_key_read(char **out, const char *path);
/* EMC_ERR_CONFIG, which never quotes it: not 1 to 4096 printable ASCII characters. */
emc_status endpoint_key_check(const char *key, const char *where);

/* --- endpoint_answer.c: what comes back --- */

/* Zero-initialise; endpoint_answer_free. */
typedef struct {
    emc_text text; /* of the model, NUL at its end */
    bool truncated, refused, has_thoughts;
    bool told; /* counts of tokens came */
    int n_prompt_tokens, n_answer_tokens;
} endpoint_answer;
void endpoint_answer_free(endpoint_answer *answer);

/* The body of a chat completion. key (NULL: none) is blotted out of the text. EMC_ERR_FORMAT: it is
 * cut, or none; the line has what the endpoint says instead, if it says so. */
emc_status endpoint_answer_read(endpoint_answer *out, const char *body, size_t n, const char *key);

/* What a body says about an error, in one short line without the key; "" where it says nothing.
 * Appended. */
emc_status endpoint_error_text(emc_text *out, const char *body, size_t n, const char *key);

/* Every place of the key in text becomes "[key]". Keys below 8 bytes are stand-ins such as "EMPTY",
 * and stay. */
emc_status endpoint_blot(emc_text *text, const char *key);

/* --- endpoint_cache.c: answers on disk --- */

emc_hash endpoint_request_hash(const endpoint_settings *settings, const emc_text *body);
/* *found is false for an entry that is not there or damaged. */
emc_status endpoint_cache_get(endpoint_answer *out, bool *found, const char *dir,
                              const emc_hash *request);
emc_status endpoint_cache_put(const char *dir, const emc_hash *request,
                              const endpoint_answer *answer);
emc_status endpoint_cache_make(const char *dir);
/* Whether this endpoint's model has ever answered: when an evaluation goes on with nothing left but
 * items that it refuses, it is the items that are at fault. */
emc_status endpoint_cache_mark(const char *dir, const endpoint_settings *settings);
emc_status endpoint_cache_marked(bool *out, const char *dir, const endpoint_settings *settings);

/* --- endpoint_pace.c: when may the next request go, and when the next try --- */

/* Zero-initialise, then per_minute. Times are seconds of any one clock. */
typedef struct {
    double per_minute; /* 0: no limit */
    double next;       /* no request before this time */
    double paused;     /* the endpoint asked for a rest until then */
} endpoint_pace;

double endpoint_pace_due(const endpoint_pace *pace); /* the next may go from then on */
void endpoint_pace_take(endpoint_pace *pace, double now);

/* Seconds before try number n_tried + 1: twice as long each time, of which a random part from a
 * half to the whole, or what the endpoint asked for where that is longer; never above longest. */
double endpoint_wait(const endpoint_settings *settings, int n_tried, double asked,
                     emc_random *random);

/* --- endpoint_request.c: what is sent --- */

typedef struct endpoint_writer endpoint_writer;
emc_status endpoint_writer_open(endpoint_writer **out, const endpoint_settings *settings,
                                const emc_profile *profile, const emc_pass *pass);
void endpoint_writer_close(endpoint_writer *writer); /* NULL is fine */

typedef enum {
    ENDPOINT_ASK,     /* *body is what to send */
    ENDPOINT_TOO_FEW, /* fewer genes than the profile wants: unknown without asking */
    ENDPOINT_CANNOT   /* no prompt can be made; emc_message() says why */
} endpoint_ask;
/* Replaces *body. */
emc_status endpoint_write(endpoint_writer *writer, int question, endpoint_ask *ask, emc_text *body);
/* The labels that the question offers, without the one held out; [*n], borrowed until the next
 * call. NULL and 0: all. */
const int *endpoint_offered(endpoint_writer *writer, int question, int *n);

/* --- endpoint_http.c: requests under way --- */

typedef struct {
    const endpoint_settings *settings;
    const char *key;       /* NULL: none */
    const char *cache_dir; /* NULL: none */
    endpoint_writer *writer;
    const emc_pass *pass;
    emc_system_usage *usage;
    emc_text *work;
} endpoint_run;

/* Asks all questions of the pass and hands each over. */
emc_status endpoint_ask_all(const endpoint_run *run);

/* --- endpoint.c --- */

emc_status endpoint_tell(const endpoint_run *run, int question, const endpoint_answer *answer,
                         int n_tries, double seconds);
emc_status endpoint_tell_failed(const endpoint_run *run, int question, int n_tries,
                                const char *error);

#ifdef __cplusplus
}
#endif
