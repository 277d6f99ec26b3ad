// What decides a tokenizer's ids, as a hash: two that agree in it encode alike, wherever they were
// read from.
#include "sha256.h"
#include "tokenizer_impl.h"

#include <string.h>

static void add_number(Sha256 *sha, int64_t value) {
  sha256_add(sha, &value, sizeof value);
}

static void add_bytes(Sha256 *sha, const char *bytes, int64_t size) {
  add_number(sha, size);
  if (size > 0) sha256_add(sha, bytes, size);
}

static void add_strings(Sha256 *sha, const StringTable *table) {
  add_number(sha, table->n);
  for (int64_t i = 0; i < table->n; i++) {
    bool has = string_table_has(table, i);
    add_bytes(sha, has ? string_table_get(table, i) : "", has ? table->size[i] : -1);
  }
}

static void add_added(Sha256 *sha, const AddedTokens *tokens) {
  add_number(sha, tokens->n);
  for (int64_t i = 0; i < tokens->n; i++) {
    const AddedToken *t = &tokens->items[i];
    add_bytes(sha, t->text, t->size);
    add_number(sha, t->id);
    add_number(sha, t->special | t->lstrip << 1 | t->rstrip << 2);
  }
}

static void add_ops(Sha256 *sha, const TextOps *ops) {
  add_number(sha, ops->n);
  for (int i = 0; i < ops->n; i++) {
    const TextOp *op = &ops->items[i];
    const char *from = op->from != NULL ? op->from : "";
    add_number(sha, (int64_t)op->kind);
    add_bytes(sha, from, (int64_t)strlen(from));
    add_bytes(sha, op->to, (int64_t)strlen(op->to));
  }
}

void tokenizer_identify(const Tokenizer *t, Sha256 *sha) {
  add_number(sha, (int64_t)t->family);
  add_strings(sha, &t->pieces);
  if (t->pieces.n > 0) sha256_add(sha, t->type, t->pieces.n);
  add_number(sha, t->bos);
  add_number(sha, t->eos);
  add_number(sha, t->adds_bos);
  add_added(sha, &t->added);
  add_added(sha, &t->added_late);
  add_added(sha, &t->frozen);
  add_ops(sha, &t->normalizer);
  add_ops(sha, &t->prefix);
  add_number(sha, t->pre.n);
  for (int i = 0; i < t->pre.n; i++) {
    const SplitStep *step = &t->pre.steps[i];
    add_number(sha, (int64_t)step->kind);
    add_number(sha, step->digits);
    add_number(sha, step->long_s);
  }
  add_number(sha, t->merges.count);
  for (int64_t i = 0; i < t->merges.count; i++) {
    const MergeEntry *e = &t->merges.entries[i];
    if (e->left < 0) continue;
    const int64_t rule[] = {e->left, e->right, e->rank, e->id};
    sha256_add(sha, rule, sizeof rule);
  }
  if (t->rank != NULL) sha256_add(sha, t->rank, t->pieces.n * (int64_t)sizeof *t->rank);
  sha256_add(sha, t->byte_id, sizeof t->byte_id);
  add_number(sha, t->unk);
  add_number(sha, t->byte_fallback | t->fuse_unk << 1 | t->ignore_merges << 2 |
                      t->split_spaces << 3 | t->split_words << 4);
}
