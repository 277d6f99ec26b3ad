#include "show_examples.h"

#include "check.h"
#include "run_parts.h"
#include "utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Showing {
  const RunConfig *config;
  Tokenizer *tokenizer;
  Dataset data;
  DatasetSplit split;
  const char *label, *special, *plain; // what switches a terminal's colours, or ""
} Showing;

static void choose_colours(Showing *s) {
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  bool wanted = no_color == NULL || no_color[0] == '\0';
  bool able = isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
  s->label = wanted && able ? "\x1b[32m" : "";
  s->special = wanted && able ? "\x1b[7m" : "";
  s->plain = wanted && able ? "\x1b[0m" : "";
}

// What would change the line or not be seen: controls, line separators, writing directions, marks
// without width.
static bool is_invisible(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA1) || c == 0xAD || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202F) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

static void print_text(const char *text, int64_t bytes) {
  int length;
  for (int64_t i = 0; i < bytes; i += length) {
    uint32_t c = utf8_read(text + i, &length);
    if (c == '\n') {
      fputs("\\n", stdout);
    } else if (c == '\t') {
      fputs("\\t", stdout);
    } else if (c == '"' || c == '\\') {
      printf("\\%c", (char)c);
    } else if (is_invisible(c)) {
      printf("\\u%04x", c);
    } else {
      fwrite(text + i, 1, (size_t)length, stdout);
    }
  }
}

// A special token stands without quotes, so that a text which only spells one is told apart.
static void print_token(const Showing *s, int32_t place, int32_t token, const TokenStream *stream) {
  int32_t id = token_id(token);
  bool label = token_is_label(token), special = tokenizer_is_special(s->tokenizer, id);
  printf("%s%8d %8d  %s  ", label ? s->label : "", place, id, label ? "*" : " ");
  if (special) {
    printf("%s", s->special);
    print_text(stream->text, stream->size);
  } else if (stream->size == 0) {
    printf("(a part of the next character)");
  } else {
    printf("\"");
    print_text(stream->text, stream->size);
    printf("\"");
  }
  printf("%s\n", label || special ? s->plain : "");
}

static void print_example(const Showing *s, int64_t number, int64_t n, int32_t example) {
  const Example *e = &s->data.examples[example];
  printf("# example %" PRId64 " of %" PRId64 ": item %d of %s; %d tokens, %d of them labels",
         number, n, e->item, dataset_file_of(&s->data, example)->path, e->n, e->n_labels);
  if (e->cut) printf("; cut at data.cutoff_len=%" PRId64, s->config->data.cutoff_len);
  printf("\n");
  TokenStream stream;
  token_stream_init(&stream, s->tokenizer, false);
  for (int32_t i = 0; i < e->n; i++) {
    int32_t token = s->data.tokens[e->first + i];
    token_stream_push(&stream, token_id(token));
    print_token(s, i, token, &stream);
  }
  token_stream_end(&stream);
  if (stream.size > 0) printf("%19s(the end is inside a character)\n", "");
  token_stream_free(&stream);
  printf("\n");
}

static Status print_examples(const Showing *s, int64_t n, Error *err) {
  int64_t tokens = 0, labels = 0, size;
  Status status = dataset_epoch_size(&size, &s->split, &s->data, &s->config->data.weights, err);
  if (status != STATUS_OK) return status;
  int32_t *order = malloc((size_t)size * sizeof *order);
  CHECK(order != NULL, "no memory for %lld examples", (long long)size);
  run_epoch_order(order, size, s->config, &s->data, &s->split, 0, s->config->data.group_by_length);
  if (n > size) n = size;
  printf("# place, id, token; * and its colour: a label, which the model learns to foretell from "
         "all before it\n\n");
  for (int64_t i = 0; i < n; i++) {
    print_example(s, i + 1, n, order[i]);
    tokens += s->data.examples[order[i]].n;
    labels += s->data.examples[order[i]].n_labels;
  }
  printf("# shown: %" PRId64 " of %" PRId64 " training examples, %" PRId64 " tokens, %" PRId64
         " of them labels\n",
         n, size, tokens, labels);
  free(order);
  if (fflush(stdout) == 0 && !ferror(stdout)) return STATUS_OK;
  return error_set(err, STATUS_IO, "standard output cannot be written");
}

Status show_examples(const RunConfig *config, int64_t n, Error *err) {
  Status status = STATUS_OK;
  Showing s = {.config = config};
  choose_colours(&s);
  TRY(tokenizer_open(&s.tokenizer, config->model.path, err));
  TRY(run_read_data(&s.data, &s.split, config, s.tokenizer, false, err));
  TRY(print_examples(&s, n, err));
done:
  dataset_split_free(&s.split);
  dataset_free(&s.data);
  tokenizer_close(s.tokenizer);
  return status;
}
