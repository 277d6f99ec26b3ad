// An answer as JSON.
#ifndef VMA_ANSWER_JSON_H
#define VMA_ANSWER_JSON_H

#include "generate.h"

#include <jansson.h>

// {"text": T, "ids": [...], "finish": F}; released by json_decref.
json_t *answer_json(const Generation *answer);

// The object as one line with its newline, to be freed by the caller; takes over `object`.
char *answer_line(json_t *object);

#endif
