#include "tape.h"

#include "check.h"

#include <string.h>

DType ctx_stat_dtype(const Ctx *ctx) {
  return ctx->dtype == DT_F64 ? DT_F64 : DT_F32;
}

Tensor ctx_tensor(Ctx *ctx, Life life, DType dtype, int64_t rows, int64_t cols, const char *name) {
  // Without a tape nothing outlives its segment; one end is as good as the other.
  return arena_tensor(ctx->step, life == KEEP ? ARENA_LOW : ARENA_HIGH, dtype, rows, cols, name);
}

Value *value_wrap(Ctx *ctx, Tensor t, bool needs_grad) {
  Value *v = arena_alloc(ctx->host, ARENA_LOW, sizeof *v, "value");
  *v = (Value){.t = t, .needs_grad = needs_grad, .made_by = ctx->serial};
  return v;
}

Value *value_new(Ctx *ctx, Life life, int64_t rows, int64_t cols, const char *name) {
  return value_wrap(ctx, ctx_tensor(ctx, life, ctx->dtype, rows, cols, name), false);
}

Tensor value_grad(Ctx *ctx, Value *v) {
  CHECK(v->needs_grad, "a gradient of a value that needs none");
  if (!tensor_given(v->grad)) {
    v->grad = ctx_tensor(ctx, TEMP, v->t.dtype, v->t.rows, v->t.cols, "gradient");
    ctx->be->fill(ctx->be, v->grad, 0);
  }
  return v->grad;
}

bool tape_reads(Ctx *ctx, Value *const *inputs, int n) {
  ctx->serial++;
  bool needs = false;
  for (int i = 0; i < n; i++) {
    if (inputs[i] == NULL) continue;
    inputs[i]->last_use = ctx->serial;
    needs = needs || inputs[i]->needs_grad;
  }
  return needs;
}

void *tape_push(Ctx *ctx, size_t size, void (*backward)(Ctx *, Record *)) {
  CHECK(ctx->recording, "a record while nothing is recorded");
  Record *r = arena_alloc(ctx->host, ARENA_LOW, (int64_t)size, "record");
  memset(r, 0, size);
  r->before = ctx->last;
  r->backward = backward;
  ctx->last = r;
  return r;
}

bool tape_reads_residual(Ctx *ctx, Value *x, Value *d) {
  if (ctx->recording && d->needs_grad) {
    CHECK(d->last_use < d->made_by, "the branch of a residual add is read by another op too");
    CHECK(!x->needs_grad || x->last_use < d->made_by,
          "the trunk of a residual add is read between the branch's last op and the add");
  }
  return tape_reads(ctx, (Value *[]){x, d}, 2);
}

void tape_share_residual(Ctx *ctx, Value *z, Value *x, Value *d) {
  Tensor dz = value_grad(ctx, z);
  Value *operands[] = {x, d};
  for (int i = 0; i < 2; i++) {
    if (!operands[i]->needs_grad) continue;
    CHECK(!tensor_given(operands[i]->grad), "the %s of a residual add is read after it",
          i == 0 ? "trunk" : "branch");
    operands[i]->grad = dz;
  }
}

static void run_records(Ctx *ctx) {
  while (ctx->last != NULL) {
    Record *r = ctx->last;
    ctx->last = r->before;
    r->backward(ctx, r);
  }
}

void tape_backward(Ctx *ctx) {
  bool was_recording = ctx->recording;
  ctx->recording = false;
  run_records(ctx);
  ctx->recording = was_recording;
}

typedef struct BucketRecord {
  Record header;
  int bucket;
} BucketRecord;

static void bucket_back(Ctx *ctx, Record *record) {
  if (ctx->bucket_done != NULL)
    ctx->bucket_done(ctx->bucket_user, ((BucketRecord *)record)->bucket);
}

void tape_bucket(Ctx *ctx, int bucket) {
  if (!ctx->recording) return;
  BucketRecord *r = tape_push(ctx, sizeof *r, bucket_back);
  r->bucket = bucket;
}

// ---- segments ----

typedef struct Marks {
  ArenaMark step, host;
} Marks;

static Marks marks_take(const Ctx *ctx) {
  return (Marks){arena_mark(ctx->step), arena_mark(ctx->host)};
}

static void marks_release(Ctx *ctx, Marks m) {
  arena_release(ctx->step, m.step);
  arena_release(ctx->host, m.host);
}

// Gradients of the inputs must lie below the segment's own memory, since they outlive it.
static void inputs_make_grads(Ctx *ctx, const Segment *s) {
  for (int i = s->residual ? 1 : 0; i < s->n_in; i++) {
    if (s->in[i]->needs_grad) value_grad(ctx, s->in[i]);
  }
  for (int i = 0; i < s->n_out; i++) {
    if (s->out[i]->needs_grad) value_grad(ctx, s->out[i]);
  }
}

static void check_residual(const Segment *s) {
  if (!s->residual || !s->in[0]->needs_grad) return;
  CHECK(s->in[0]->grad.data == s->out[0]->grad.data,
        "a residual segment whose add is not its last op");
}

// Without checkpointing a segment is two records around its ops: the one before them runs last in
// the backward and gives the memory back; the one after them runs first.
typedef struct Bracket {
  Record header;
  Segment segment;
  Marks forward;   // before the ops ran
  ArenaMark grads; // when the backward entered
} Bracket;

typedef struct BracketEnd {
  Record header;
  Bracket *begin;
} BracketEnd;

static void bracket_end_back(Ctx *ctx, Record *record) {
  Bracket *b = ((BracketEnd *)record)->begin;
  inputs_make_grads(ctx, &b->segment);
  b->grads = arena_mark(ctx->step);
}

static void bracket_begin_back(Ctx *ctx, Record *record) {
  Bracket *b = (Bracket *)record;
  check_residual(&b->segment);
  ArenaMark high = b->grads;
  Marks low = b->forward;
  arena_release_end(ctx->step, ARENA_HIGH, high);
  arena_release_end(ctx->step, ARENA_LOW, low.step);
  arena_release(ctx->host, low.host);
}

static void segment_record(Ctx *ctx, const Segment *s) {
  Marks start = marks_take(ctx);
  Bracket *b = tape_push(ctx, sizeof *b, bracket_begin_back);
  b->segment = *s;
  b->forward = start;
  s->run(ctx, s->args);
  arena_release_end(ctx->step, ARENA_HIGH, start.step);
  BracketEnd *end = tape_push(ctx, sizeof *end, bracket_end_back);
  end->begin = b;
}

typedef struct Checkpoint {
  Record header;
  Segment segment;
} Checkpoint;

static void checkpoint_back(Ctx *ctx, Record *record) {
  const Segment *s = &((Checkpoint *)record)->segment;
  Record *outer = ctx->last;
  inputs_make_grads(ctx, s);
  Marks start = marks_take(ctx);
  ctx->last = NULL;
  ctx->recording = true;
  s->run(ctx, s->args);
  ctx->recording = false;
  arena_release_end(ctx->step, ARENA_HIGH, start.step);
  run_records(ctx);
  check_residual(s);
  marks_release(ctx, start);
  ctx->last = outer;
}

void tape_segment(Ctx *ctx, const Segment *s) {
  if (ctx->recording && !s->checkpoint) {
    segment_record(ctx, s);
    return;
  }
  Marks start = marks_take(ctx);
  bool was_recording = ctx->recording;
  ctx->recording = false;
  s->run(ctx, s->args);
  ctx->recording = was_recording;
  marks_release(ctx, start);
  if (!was_recording) return;
  Checkpoint *c = tape_push(ctx, sizeof *c, checkpoint_back);
  c->segment = *s;
}
