// A data file's examples: items are read one after the other, some hundreds of them are encoded by
// all cores, and their tokens appended in the items' order.
#include "dataset_build.h"
#include "expanded_file.h"
#include "item_turns.h"
#include "quote.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
  SLOTS = 256,           // items encoded at once
  TEXT_SLOTS = 16,       // the same for parts of a plain text,
  TEXT_PART = 256 << 10, // which have about so many bytes
};

// What is encoded by one thread: an item, or a part of a document.
typedef struct Slot {
  JsonItem item; // its value is held
  ItemTurns turns;
  const char *text; // [bytes]; NULL: the turns
  int64_t bytes;
  bool begins, ends; // it is the beginning, the end of its document
  TokenIds tokens;
  bool cut, lost_end;
} Slot;

typedef struct Reading {
  DatasetBuild *build;
  DatasetFile *file;
  JsonItems *items;
  Slot slots[SLOTS];
  int64_t n;
  TokenIds open;     // of a document: an example that is not full yet
  int64_t open_item; // that it is of
} Reading;

// ---- encoding: by many threads ----

static void encode_part(const DatasetBuild *b, Slot *s) {
  const Tokenizer *t = b->tokenizer;
  if (s->begins && tokenizer_adds_bos(t)) token_ids_push(&s->tokens, tokenizer_bos(t));
  tokenizer_encode_part(t, s->text, s->bytes, s->begins ? TEXT_BEGINS : TEXT_GOES_ON, &s->tokens);
  if (s->ends && tokenizer_eos(t) >= 0) token_ids_push(&s->tokens, tokenizer_eos(t));
  for (int64_t i = 0; i < s->tokens.n; i++) s->tokens.ids[i] |= TOKEN_LABEL;
}

// Cuts the tokens where that is asked for, or ends them by EOS where the template leaves that to
// us. What is to be dropped or refused above the limit gets its end before it is measured: an
// answer without one would teach not to stop.
static void cut_or_end(const DatasetBuild *b, Slot *s) {
  TokenIds *tokens = &s->tokens;
  int32_t eos = tokenizer_eos(b->tokenizer);
  int64_t limit = b->options->cutoff_len;
  bool truncates = b->options->over_length == OVER_LENGTH_TRUNCATE;
  bool unlearned = s->turns.turns[s->turns.n - 1].unlearned && !b->options->train_on_inputs;
  bool ended = tokens->n > 0 && token_id(tokens->ids[tokens->n - 1]) == eos;
  bool wants_end = b->options->template->end_if_room && eos >= 0 && !ended;
  bool has_room = tokens->n < limit || !truncates;
  if (wants_end && has_room) token_ids_push(tokens, eos | (unlearned ? 0 : TOKEN_LABEL));
  s->cut = tokens->n > limit;
  s->lost_end = s->cut || (wants_end && !has_room);
  if (s->cut && truncates) tokens->n = limit;
}

static void encode_slot(const DatasetBuild *b, Slot *s) {
  s->tokens.n = 0;
  s->cut = s->lost_end = false;
  if (s->text != NULL) {
    encode_part(b, s);
  } else if (s->turns.n > 0) {
    template_encode(b->tokenizer, b->options->template, s->turns.turns, s->turns.n,
                    b->options->train_on_inputs ? MARK_ALL : MARK_ANSWERS, &s->tokens);
    cut_or_end(b, s);
  }
}

static void encode_slots(Reading *r) {
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < r->n; i++) encode_slot(r->build, &r->slots[i]);
}

// ---- appending ----

// An example of a document is closed when it is full; at the document's end the rest is one.
static Status close_open(Reading *r, Error *err) {
  Status status = STATUS_OK;
  if (r->open.n > 0) {
    status = dataset_add(r->build, r->open.ids, r->open.n, r->open_item, false, err);
  }
  r->open.n = 0;
  return status;
}

static Status append_part(Reading *r, const Slot *s, Error *err) {
  Status status = STATUS_OK;
  if (s->begins) r->open_item = s->item.index;
  for (int64_t i = 0; i < s->tokens.n; i++) {
    if (r->open.n == r->build->options->cutoff_len) TRY(close_open(r, err));
    token_ids_push(&r->open, s->tokens.ids[i]);
  }
  if (s->ends) TRY(close_open(r, err));
done:
  return status;
}

static Status append_item(Reading *r, const Slot *s, Error *err) {
  DatasetStats *stats = &r->build->dataset->stats;
  const DatasetOptions *o = r->build->options;
  int64_t n = s->tokens.n, before = r->build->dataset->n;
  if (s->turns.n > 0) {
    const Turn *first = &s->turns.turns[s->turns.turns[0].role == ROLE_SYSTEM && s->turns.n > 1];
    stats->with_input += first->input != NULL && first->input[0] != '\0';
  }
  stats->unanswered += s->turns.unanswered;
  if (s->cut && o->over_length == OVER_LENGTH_ERROR) {
    return json_items_error(r->items, &s->item, err,
                            "%lld tokens, data.cutoff_len is %lld: raise it, or let "
                            "data.over_length cut or drop what is longer",
                            (long long)n, (long long)o->cutoff_len);
  }
  if (s->cut && o->over_length == OVER_LENGTH_DROP) {
    stats->dropped++;
    return STATUS_OK;
  }
  stats->cut += s->cut;
  Status status = dataset_add(r->build, s->tokens.ids, n, s->item.index, s->cut, err);
  if (r->build->dataset->n > before) stats->lost_end += s->lost_end;
  return status;
}

static Status append_slots(Reading *r, Error *err) {
  Status status = STATUS_OK;
  for (int64_t i = 0; i < r->n; i++) {
    const Slot *s = &r->slots[i];
    TRY(s->text != NULL ? append_part(r, s, err) : append_item(r, s, err));
  }
done:
  return status;
}

static Status finish_slots(Reading *r, Error *err) {
  encode_slots(r);
  Status status = append_slots(r, err);
  for (int64_t i = 0; i < r->n; i++) {
    json_decref(r->slots[i].item.value);
    r->slots[i].item.value = NULL;
  }
  r->n = 0;
  return status;
}

// ---- files of items ----

static Status fill_slot(Reading *r, const JsonItem *item, Error *err) {
  Slot *s = &r->slots[r->n];
  Status status = item_turns_read(&s->turns, r->items, item, r->file->format, err);
  if (status != STATUS_OK) return status;
  if (item->index == INT32_MAX) {
    return json_items_error(r->items, item, err, "expected at most %d items", INT32_MAX);
  }
  s->item = *item;
  s->text = NULL;
  if (r->file->format == DATA_FORMAT_TEXT) {
    s->text = s->turns.turns[0].text;
    s->bytes = (int64_t)strlen(s->text);
    s->begins = s->ends = true;
  }
  json_incref(item->value);
  r->n++;
  r->file->items++;
  return STATUS_OK;
}

static Status read_items(Reading *r, DataFormat format, Error *err) {
  Status status = STATUS_OK;
  JsonItem item;
  r->file->format = format;
  for (;;) {
    TRY(json_items_next(r->items, &item, err));
    if (item.value == NULL) break;
    if (r->file->format == DATA_FORMAT_AUTO) r->file->format = item_format(&item);
    if (r->file->format == DATA_FORMAT_AUTO) r->file->format = DATA_FORMAT_ALPACA;
    TRY(fill_slot(r, &item, err));
    if (r->n == SLOTS) TRY(finish_slots(r, err));
  }
  TRY(finish_slots(r, err));
done:
  return status;
}

// ---- plain text ----

// Where a part of text[from, size) ends: behind a line break that no white space follows, so that
// no tokenizer would have joined what the cut parts; at the end, if there is none.
static int64_t part_end(const char *text, int64_t from, int64_t size) {
  for (int64_t at = from + TEXT_PART; at < size; at++) {
    const char *newline = memchr(text + at, '\n', (size_t)(size - at));
    if (newline == NULL) break;
    at = newline - text;
    if (at + 1 < size && strchr(" \t\r\n\v\f", text[at + 1]) == NULL) return at + 1;
  }
  return size;
}

// text[from, end) of a file: a tokenizer would put U+FFFD where it is not UTF-8, and the model
// would learn that.
static Status check_utf8(const char *path, const ExpandedFile *f, int64_t from, int64_t end,
                         Error *err) {
  const char *text = (const char *)f->data;
  if (utf8_is_well_formed(text + from, end - from)) return STATUS_OK;
  Status status = expanded_file_check(f, err); // a damaged gzip is that first of all
  if (status != STATUS_OK) return status;
  int n;
  while ((n = utf8_character_length((const uint8_t *)text + from, end - from)) > 0) from += n;
  return error_set(err, STATUS_DATA,
                   "%s: byte %lld: expected UTF-8 text, found %s: convert the file, as with iconv",
                   path, (long long)from,
                   quote_bytes(text + from, end - from < 4 ? end - from : 4).text);
}

static Status read_plain(Reading *r, Error *err) {
  Status status = STATUS_OK;
  ExpandedFile f = {0};
  TRY(expanded_file_open(&f, r->file->path, err));
  const char *text = (const char *)f.data;
  r->file->format = DATA_FORMAT_TEXT;
  int64_t bom = f.size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
  if (f.size > bom) r->file->items = 1;
  for (int64_t at = bom, end; at < f.size; at = end) {
    end = part_end(text, at, f.size);
    TRY(check_utf8(r->file->path, &f, at, end, err));
    Slot *s = &r->slots[r->n++];
    *s = (Slot){.text = text + at,
                .bytes = end - at,
                .begins = at == bom,
                .ends = end == f.size,
                .turns = s->turns,
                .tokens = s->tokens};
    if (r->n == TEXT_SLOTS || s->ends) {
      TRY(finish_slots(r, err));
      expanded_file_release(&f, end);
    }
  }
  TRY(expanded_file_check(&f, err));
done:
  expanded_file_close(&f);
  return status;
}

static bool ends_in(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && strcmp(text + n - k, end) == 0;
}

bool dataset_is_plain_name(const char *path) {
  return ends_in(path, ".txt") || ends_in(path, ".txt.gz");
}

static Status is_plain(const char *path, DataFormat format, bool *plain, Error *err) {
  Status status = STATUS_OK;
  ExpandedFile f = {0};
  bool named = dataset_is_plain_name(path);
  *plain = named && (format == DATA_FORMAT_AUTO || format == DATA_FORMAT_TEXT);
  if (*plain || format != DATA_FORMAT_TEXT) return STATUS_OK;
  TRY(expanded_file_open(&f, path, err));
  int64_t i = f.size >= 3 && memcmp(f.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
  while (i < f.size && memchr(" \t\r\n", f.data[i], 4) != NULL) i++;
  *plain = i < f.size && f.data[i] != '[' && f.data[i] != '{';
done:
  expanded_file_close(&f);
  return status;
}

Status dataset_read_file(DatasetBuild *build, DatasetFile *file, Error *err) {
  Status status = STATUS_OK;
  bool plain;
  const Dataset *d = build->dataset;
  Reading *r = calloc(1, sizeof *r);
  if (r == NULL) return error_set(err, STATUS_MEMORY, "no memory");
  r->build = build;
  r->file = file;
  file->first = d->n;
  int64_t tokens = d->n_tokens, labels = d->stats.label_tokens;
  TRY(is_plain(file->path, build->options->format, &plain, err));
  if (plain) {
    TRY(read_plain(r, err));
  } else {
    TRY(json_items_open(&r->items, file->path, err));
    TRY(read_items(r, build->options->format, err));
  }
  file->examples = d->n - file->first;
  file->tokens = d->n_tokens - tokens;
  file->label_tokens = d->stats.label_tokens - labels;
done:
  for (int64_t i = 0; i < SLOTS; i++) {
    if (i < r->n) json_decref(r->slots[i].item.value);
    item_turns_free(&r->slots[i].turns);
    token_ids_free(&r->slots[i].tokens);
  }
  token_ids_free(&r->open);
  json_items_close(r->items);
  free(r);
  return status;
}
