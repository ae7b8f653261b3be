#pragma once
/* JSON objects whose members must have names of their own. Internal to loader/. */

#include "base/json.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* EMC_ERR_FORMAT when a member's name comes twice: libraries differ on which one counts. In
 * linear time, for objects of any size. `name` says whose they are in messages. */
emc_status emc_json_check_unique(const cJSON *object, const char *name);

#ifdef __cplusplus
}
#endif
