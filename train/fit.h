// --fit SIZE: the fastest setting that fits into so much memory, by rehearsal.
#ifndef VMA_FIT_H
#define VMA_FIT_H

#include "config.h"

// "24GiB", "500MiB", "24GB" (10^9), "24G" (GiB), "1.5T", with or without a space, in either case;
// at least 1 MiB. STATUS_USAGE for anything else.
Status fit_parse_size(int64_t *bytes, const char *text, Error *err);

// Tries train.micro_tokens (powers of two, and a whole batch at once) with the fewest recomputed
// layers that fit; shows what was tried and the fastest as key=value words. Needs of the config
// what a dry run does. STATUS_USAGE when nothing fits.
Status fit_run(const RunConfig *config, int64_t bytes, Error *err);

#endif
