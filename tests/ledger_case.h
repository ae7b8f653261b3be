#pragma once
/* Run folders for tests of the ledger: made, looked into, and put into states by hand. */

#include "emt.h"

#include <sys/types.h>

#include "annotate/ledger.h"

/* A new, empty run folder. Static storage, good for the next four. */
const char *make_run(const char *name);

/* "DIR/FOLDER/NAME"; static storage, good for the next eight. */
const char *in_run(const char *run, const char *folder, const char *name);
void put_file(const char *path, const void *bytes, size_t n_bytes);
void put_text(const char *path, const char *text);

/* How many names a folder holds that end so. */
int count_files(const char *run, const char *folder, const char *ending);

/* The bytes that a shard of these tests has. Owned by the caller. */
char *shard_bytes(int64_t shard, size_t *n_bytes);

emc_ledger *open_ledger(const char *run, int64_t n_shards, const emc_ledger_options *options);

/* The next claim is this shard; ends so. */
void expect_claim(emc_ledger *ledger, int64_t wanted);
void expect_outcome(emc_ledger *ledger, emc_claim wanted);
void publish(emc_ledger *ledger, int64_t shard);

/* A clock that stands until it is moved. */
typedef struct {
    double now;
} fake_clock;
double fake_now(void *context);

/* Of a heart that beats once an hour, so not in a test; with a lease of 90 s of that clock. */
emc_ledger_options silent(fake_clock *clock);

/* The shard's file has the bytes that it should. */
void expect_content(const char *run, int64_t shard);

/* Starts a process that ends without a word, with so many claims and half a file. */
pid_t leave_claims(const char *run, int64_t n_shards, int n_claims, const char *job);

/* What a claim file holds, with one member another: value is JSON. */
void edit_claim(const char *path, const char *member, const char *value);
