/* Does each name come once? */
#include "loader/unique_keys.h"

#include <string.h>

#include "base/str_map.h"

emc_status emc_json_check_unique(const cJSON *object, const char *name)
{
    emc_status status;
    emc_str_map *seen = NULL;
    const cJSON *item;

    EMC_TRY(emc_str_map_open(&seen, 64));
    status = EMC_OK;
    cJSON_ArrayForEach(item, object)
    {
        bool existed;
        status = emc_str_map_put(seen, item->string, strlen(item->string), 0, &existed);
        if (status == EMC_OK && existed)
            status = emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" comes twice", name, item->string);
        if (status != EMC_OK)
            break;
    }
    emc_str_map_close(seen);
    return status;
}
