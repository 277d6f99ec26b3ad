#include "answer_json.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

json_t *answer_json(const Generation *g) {
  json_t *ids = json_array();
  for (int64_t i = 0; i < g->n; i++) json_array_append_new(ids, json_integer(g->ids[i]));
  json_t *object = json_pack("{s:s%, s:o, s:s}", "text", g->text, (size_t)g->bytes, "ids", ids,
                             "finish", finish_name(g->finish));
  CHECK(object != NULL, "the answer is no JSON: is its text UTF-8?");
  return object;
}

char *answer_line(json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6));
  CHECK(text != NULL, "no memory for the answer");
  json_decref(object);
  size_t n = strlen(text);
  char *line = realloc(text, n + 2);
  CHECK(line != NULL, "no memory for the answer");
  line[n] = '\n';
  line[n + 1] = '\0';
  return line;
}
