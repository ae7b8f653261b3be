#pragma once
/* The style sheet of every page. */

#ifdef __cplusplus
extern "C" {
#endif

extern const char page_style[];

#ifdef __cplusplus
}
#endif
