/* A run folder that others have written to: its plan and its ledger. */
#include <string.h>

#include "annotate/ledger.h"
#include "annotate/plan.h"
#include "fuzz.h"

/* Where the input has no run.json: a whole one, whose numbers the input says. */
static void write_plan(const char *dir, fuzz_input input)
{
    emc_plan plan = {0};
    bool first;

    plan.n_rows = (int64_t)(fuzz_u64(&input, 6));
    plan.n_cells = plan.n_rows - plan.n_rows / 3;
    plan.shard_cells = 1 + (int64_t)fuzz_u64(&input, 4);
    plan.max_tries = 1 + fuzz_u8(&input);
    const fuzz_input name = fuzz_take(&input, 20);
    fuzz_check(emc_plan_pin(&plan, "input", "%.*s", (int)strnlen((const char *)name.at, name.n),
                            (const char *)name.at),
               NULL);
    fuzz_check(emc_plan_write(&plan, dir, &first), dir);
    emc_plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {
        "run.json",           "workers/a.json",       "claims/000000.1",      "claims/000001.2",
        "done/000001.shard",  "failed/000002.1.json", "failed/000002.2.json", "workers/b.json",
        "claims/999999999.1", "failed/x.json",        "parts/000000.part",
    };
    const char *dir =
        fuzz_files((fuzz_input){data, n_bytes}, "x.run", names, EMC_COUNT(names), false);
    emc_ledger_state state = {0};
    emc_plan plan = {0};
    if (!emc_plan_exists(dir))
        write_plan(dir, (fuzz_input){data, n_bytes});
    emc_status status = emc_plan_read(&plan, dir);

    fuzz_check(status, dir);
    if (status == EMC_OK) {
        emc_shard_head head;
        const int64_t n = emc_plan_n_shards(&plan);
        fuzz_require(plan.shard_cells >= 1 && plan.n_cells >= 0 && n >= 0, "numbers of a plan");
        if (n > 0) {
            emc_plan_shard(&plan, n - 1, &head);
            fuzz_require(head.first >= 0 && head.n_cells >= 1 && head.n_cells <= plan.shard_cells &&
                             head.first <= plan.n_cells - head.n_cells,
                         "a shard lies in the plan");
        }
        fuzz_check(emc_plan_compare(&plan, &plan, dir), dir);
    }
    emc_plan_free(&plan);
    status = emc_ledger_look(&state, dir, 3, 2);
    fuzz_check(status, dir);
    if (status == EMC_OK)
        fuzz_require(state.n_done <= 3 && state.n_parked <= 3 && state.n_claimed <= 3,
                     "no more shards than there are");
    emc_ledger_state_free(&state);
    return 0;
}
