/* When may the next request go, and when the next try? Arithmetic on times alone, so that it can
 * be tested without waiting. */

#include <math.h>

#include "annotate/evaluate/endpoint_parts.h"

double endpoint_pace_due(const endpoint_pace *pace)
{
    return pace->paused > pace->next ? pace->paused : pace->next;
}

/* Evenly spaced rather than in bursts: no minute, wherever it begins, has more than the limit, and
 * what was not used is not saved up. */
void endpoint_pace_take(endpoint_pace *pace, double now)
{
    if (pace->per_minute > 0)
        pace->next = now + 60 / pace->per_minute;
}

double endpoint_wait(const endpoint_settings *settings, int n_tried, double asked,
                     emc_random *random)
{
    const double whole = settings->backoff * exp2(n_tried < 40 ? n_tried - 1 : 40);
    const double most = whole < settings->longest_wait ? whole : settings->longest_wait;
    /* Requests that failed together come back apart (full jitter would allow no wait at all). */
    const double own = most * (0.5 + 0.5 * emc_random_share(random));

    if (!(asked > own))
        return own;
    return asked < settings->longest_wait ? asked : settings->longest_wait;
}
