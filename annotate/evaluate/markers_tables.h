#pragma once
/* Inside evaluate/: the tables behind markers.h. */

#include "annotate/evaluate/markers.h"

#define N_MARKER_TABLES 2
extern const emc_marker_table markers_tables[N_MARKER_TABLES];
