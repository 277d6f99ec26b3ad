// What a run answers to a few held-out items, before its first step and after its last: for the
// report. Kept in output.dir/samples.json, so that a run that goes on still has the answers from
// before. Greedy, at most SAMPLE_NEW_TOKENS tokens each.
#ifndef VMA_RUN_SAMPLES_H
#define VMA_RUN_SAMPLES_H

#include "run_parts.h"

#include <jansson.h>

// Answers output.samples items with the weights as they are. Says on standard output what it cost.
// Nothing with output.report off, without held-out items and without items short enough.
Status run_answer_samples(Run *run, bool after, Error *err);

// samples.json: {"samples": [{"example", "item", "file", "prompt", "expected", "before", "after"},
// ...]}, a text that was not made is missing; an empty object where there is none. To be released.
json_t *run_read_samples(const Run *run);

#endif
