// Sampling and beam steps. Both give whole numbers: each must be that of the reference, and that of
// the host's sampler and search.
#include "parity.h"
#include "sampler.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};

// ---- sampling ----

typedef struct SampleForm {
  int64_t rows, vocab, pad, seen;
  bool ties;  // logits of few different values
  int option; // of the first row
} SampleForm;

// The last ones: rows of which a thread has 3 to 5 columns, as many as the kernels' loops unroll.
static const SampleForm forms[] = {
    {0, 7, 0, 0, false, 0},     {1, 1, 0, 2, false, 1},    {5, 2, 1, 0, true, 2},
    {9, 57, 3, 4, true, 3},     {9, 57, 0, 0, false, 4},   {12, 1021, 1, 9, false, 5},
    {12, 1021, 0, 3, true, 6},  {3, 4099, 0, 0, false, 7}, {1, 2049, 0, 0, true, 2},
    {1, 2049, 0, 0, true, 3},   {1, 2049, 0, 0, true, 4},  {1, 2049, 0, 0, true, 8},
    {1, 1569, 0, 0, false, 10}, {1, 1569, 0, 0, true, 4},  {1, 1569, 0, 0, true, 8},
};
enum { N_FORMS = sizeof forms / sizeof *forms };

// What rows differ in: row r has the (r + first)-th.
static const SamplerOptions row_options[] = {
    {.temperature = 0, .top_k = 3, .top_p = 0.5f, .repetition_penalty = 1.3f},
    {.temperature = 1, .top_k = 0, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 0.7f, .top_k = 5, .top_p = 1, .repetition_penalty = 1.2f},
    {.temperature = 1.5f, .top_k = 0, .top_p = 0.8f, .repetition_penalty = 1},
    {.temperature = 2, .top_k = 40, .top_p = 0.9f, .repetition_penalty = 0.9f},
    {.temperature = 1e-30f, .top_k = 0, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 3, .top_k = 100000, .top_p = 1, .repetition_penalty = 2},
    {.temperature = 1, .top_k = 1, .top_p = 0.3f, .repetition_penalty = 1},
    {.temperature = 100, .top_k = 0, .top_p = 0.999f, .repetition_penalty = 1.1f},
    {.temperature = 1, .top_k = 0, .top_p = 1e-6f, .repetition_penalty = 1},
    {.temperature = 2, .top_k = 0, .top_p = 0.25f, .repetition_penalty = 1},
};
enum { N_OPTIONS = sizeof row_options / sizeof *row_options };

// ids draws seen lengths | logits temperature top_k top_p seeds penalty
static void call_sample(Backend *be, const Tensor *t, const void *user) {
  const SampleForm *form = user;
  SampleArgs args = {
      .draws = t[1], .temperature = t[5], .top_k = t[6], .top_p = t[7], .seeds = t[8]};
  if (form->seen > 0) args.seen = (SeenIds){.ids = t[2], .lengths = t[3], .penalty = t[9]};
  be->sample(be, t[0], t[4], &args);
}

static void add_sample(ParityCase *c, const SampleForm *form, DType dtype, int first) {
  int64_t rows = form->rows, width = form->seen > 0 ? form->seen : 1;
  parity_add(c, "ids", PARITY_OUT, DT_I32, 1, rows, 0, 1);
  int draws = parity_add(c, "draws", PARITY_ACC, DT_I64, 1, rows, 0, 1),
      seen = parity_add(c, "seen", PARITY_ACC, DT_I32, rows, width, form->pad, 1),
      lengths = parity_add(c, "lengths", PARITY_ACC, DT_I32, 1, rows, 0, 1),
      logits = parity_add(c, "logits", PARITY_IN, dtype, rows, form->vocab, form->pad, 2),
      temperature = parity_add(c, "temperature", PARITY_IN, DT_F32, 1, rows, 0, 1),
      top_k = parity_add(c, "top_k", PARITY_IN, DT_I32, 1, rows, 0, 1),
      top_p = parity_add(c, "top_p", PARITY_IN, DT_F32, 1, rows, 0, 1),
      seeds = parity_add(c, "seeds", PARITY_IN, DT_I64, 1, rows, 0, 1),
      penalty = parity_add(c, "penalty", PARITY_IN, DT_F32, 1, rows, 0, 1);
  for (int64_t r = 0; r < rows; r++) {
    const SamplerOptions *o = &row_options[(r + first) % N_OPTIONS];
    ((int64_t *)c->tensors[draws].t.data)[r] = r * 3;
    ((int64_t *)c->tensors[seeds].t.data)[r] =
        (int64_t)(0x9E3779B97F4A7C15u * (uint64_t)(r + first + 1));
    parity_i32(c, lengths)[r] = (int32_t)(r % 3 == 2 ? width : r % width);
    parity_i32(c, top_k)[r] = (int32_t)o->top_k;
    parity_set(c->tensors[temperature].t, 0, r, (double)o->temperature);
    parity_set(c->tensors[top_p].t, 0, r, (double)o->top_p);
    parity_set(c->tensors[penalty].t, 0, r, (double)o->repetition_penalty);
    for (int64_t i = 0; i < width; i++) // some twice, some outside
      parity_set(c->tensors[seen].t, r, i, (double)((i * i * 5 + r) % (form->vocab + 2) - 1));
    parity_set(c->tensors[seen].t, r, 0, r % 2 ? 1e6 : r % 4 ? -1e6 : r); // far outside
    for (int64_t v = 0; form->ties && v < form->vocab; v++)
      parity_set(c->tensors[logits].t, r, v, (double)((v * 7 + r) % 5) - 2);
  }
}

static void test_sample(void) {
  for (int f = 0; f < 2; f++) {
    for (int i = 0; i < N_FORMS; i++) {
      ParityCase c = {.call = call_sample, .user = &forms[i]};
      snprintf(c.name, sizeof c.name, "sample %s form %d", dtype_info(floats[f])->name, i);
      add_sample(&c, &forms[i], floats[f], forms[i].option);
      parity_run(&c);
    }
  }
}

// Thousands of draws, each against the host's sampler with the same seed.
static void test_sample_is_the_sampler(void) {
  enum { V = 211, ROWS = 50, STEPS = 60, ROOM = STEPS + 4 };
  Backend *be = parity_cpu("base", 1, "own");
  Tensor ids = parity_tensor(DT_I32, 1, ROWS, 0), logits = parity_tensor(DT_F32, ROWS, V, 0),
         f32[3], top_k = parity_tensor(DT_I32, 1, ROWS, 0), i64[2],
         seen = parity_tensor(DT_I32, ROWS, ROOM, 0), lengths = parity_tensor(DT_I32, 1, ROWS, 0);
  for (int i = 0; i < 3; i++) f32[i] = parity_tensor(DT_F32, 1, ROWS, 0);
  for (int i = 0; i < 2; i++) i64[i] = parity_tensor(DT_I64, 1, ROWS, 0);
  Sampler samplers[ROWS];
  int32_t context[ROWS][ROOM];
  int64_t n_wrong = 0;
  for (int r = 0; r < ROWS; r++) {
    SamplerOptions o = row_options[r % N_OPTIONS];
    o.seed = 1000 + (uint64_t)r;
    sampler_init(&samplers[r], &o, V);
    parity_set(f32[0], 0, r, (double)o.temperature);
    parity_set(f32[1], 0, r, (double)o.top_p);
    parity_set(f32[2], 0, r, (double)o.repetition_penalty);
    parity_set(top_k, 0, r, (double)o.top_k);
    parity_set(i64[0], 0, r, (double)o.seed);
    parity_set(i64[1], 0, r, 0);
    parity_set(lengths, 0, r, 2);
    for (int i = 0; i < 2; i++) {
      context[r][i] = r + i;
      parity_set(seen, r, i, r + i);
    }
  }
  SampleArgs args = {.temperature = f32[0],
                     .top_k = top_k,
                     .top_p = f32[1],
                     .seeds = i64[0],
                     .draws = i64[1],
                     .seen = {.ids = seen, .lengths = lengths, .penalty = f32[2]}};
  for (int step = 0; step < STEPS; step++) {
    parity_random(logits, 77 + (uint64_t)step, 3);
    be->sample(be, ids, logits, &args);
    for (int r = 0; r < ROWS; r++) {
      float copy[V];
      memcpy(copy, (const float *)logits.data + r * V, sizeof copy);
      int32_t expected = sampler_pick(&samplers[r], copy, context[r], step + 2);
      context[r][step + 2] = expected;
      if (((const int32_t *)ids.data)[r] != expected) n_wrong++;
    }
  }
  EXPECT(n_wrong == 0, "%lld of %d ids are not the sampler's", (long long)n_wrong, ROWS * STEPS);
  EXPECT(parity_get(lengths, 0, 3) == STEPS + 2 && parity_get(i64[1], 0, 1) == STEPS);
  EXPECT(parity_get(i64[1], 0, 0) == 0, "the greedy draw nothing");
  EXPECT(memcmp(seen.data, context, 4 * (STEPS + 2)) == 0, "the ids are appended");
  for (int r = 0; r < ROWS; r++) sampler_free(&samplers[r]);
  parity_release_all();
}

static void test_no_choice(void) {
  Backend *be = parity_reference();
  Tensor ids = parity_tensor(DT_I32, 1, 3, 0), logits = parity_tensor(DT_F32, 3, 5, 0),
         one = parity_tensor(DT_F32, 1, 3, 0), zero = parity_tensor(DT_I32, 1, 3, 0),
         draws = parity_tensor(DT_I64, 1, 3, 0);
  be->fill(be, one, 1);
  be->fill(be, zero, 0);
  for (int r = 0; r < 3; r++) {
    parity_set(draws, 0, r, 7);
    for (int v = 0; v < 5; v++) parity_set(logits, r, v, v == 3 ? 0 : -INFINITY);
  }
  parity_set(logits, 0, 2, NAN);
  parity_set(logits, 2, 4, INFINITY);
  SampleArgs args = {
      .temperature = one, .top_k = zero, .top_p = one, .seeds = draws, .draws = draws};
  be->sample(be, ids, logits, &args);
  EXPECT(parity_get(ids, 0, 0) == -1 && parity_get(ids, 0, 1) == 3 && parity_get(ids, 0, 2) == -1);
  EXPECT(parity_get(draws, 0, 0) == 7 && parity_get(draws, 0, 1) == 8);
  parity_release_all();
}

// ---- beams ----

typedef struct BeamForm {
  int64_t texts, beams, keep, vocab, pad, seen;
  bool shared, ties; // all beams of a text read one row, as in a first step
} BeamForm;

static const BeamForm beam_forms[] = {
    {0, 2, 4, 5, 0, 0, false, false},  {1, 1, 2, 3, 0, 0, false, false},
    {1, 1, 4, 3, 0, 0, false, true},   {2, 3, 6, 57, 1, 4, false, false},
    {2, 3, 9, 57, 0, 0, false, true},  {3, 4, 8, 1021, 0, 0, true, false},
    {1, 4, 8, 1021, 3, 5, true, true}, {1, 2, 4, 1021, 0, 70, false, false}};
enum { N_BEAM_FORMS = sizeof beam_forms / sizeof *beam_forms };

static void call_beam(Backend *be, const Tensor *t, const void *user) {
  const BeamForm *form = user;
  BeamArgs args = {.beams = form->beams, .sums = t[4], .rows = form->shared ? t[5] : TENSOR_NONE};
  if (form->seen > 0) args.seen = (SeenIds){.ids = t[6], .lengths = t[7], .penalty = t[8]};
  be->beam_step(be, t[0], t[1], t[2], t[3], &args);
}

static void test_beam(void) {
  for (int f = 0; f < 2; f++) {
    for (int i = 0; i < N_BEAM_FORMS; i++) {
      const BeamForm *form = &beam_forms[i];
      int64_t T = form->texts, all = T * form->beams, width = form->seen > 0 ? form->seen : 1;
      ParityCase c = {.call = call_beam, .user = form};
      snprintf(c.name, sizeof c.name, "beam_step %s form %d", dtype_info(floats[f])->name, i);
      parity_add(&c, "scores", PARITY_OUT, DT_F32, T, form->keep, form->pad, 1);
      parity_add(&c, "parents", PARITY_OUT, DT_I32, T, form->keep, form->pad, 1);
      parity_add(&c, "ids", PARITY_OUT, DT_I32, T, form->keep, form->pad, 1);
      int64_t rows = form->shared ? T : all;
      int logits = parity_add(&c, "logits", PARITY_IN, floats[f], rows, form->vocab, form->pad, 2);
      for (int64_t r = 0; form->ties && r < rows; r++) {
        for (int64_t v = 0; v < form->vocab; v++)
          parity_set(c.tensors[logits].t, r, v, (double)((v * 7 + r) % 5));
      }
      int sums = parity_add(&c, "sums", PARITY_IN, DT_F32, T, form->beams, 0, 1);
      for (int64_t k = 0; form->shared && k < all; k++)
        parity_set(c.tensors[sums].t, 0, k, k % form->beams == 0 ? 0 : -1e9);
      int at = parity_add_i32(&c, "rows", NULL, all, 1);
      for (int64_t k = 0; k < all; k++) parity_i32(&c, at)[k] = (int32_t)(k / form->beams);
      int seen = parity_add(&c, "seen", PARITY_IN, DT_I32, all, width, form->pad, 1);
      for (int64_t r = 0; r < all; r++) {
        for (int64_t k = 0; k < width; k++)
          parity_set(c.tensors[seen].t, r, k, (double)((k * 3 + r) % form->vocab));
        parity_set(c.tensors[seen].t, r, 0, r % 2 ? 1e6 : r % 4 ? -1e6 : r); // far outside
      }
      parity_add_i32(&c, "lengths", NULL, all, width + 1);
      int penalty = parity_add(&c, "penalty", PARITY_IN, DT_F32, 1, all, 0, 1);
      for (int64_t r = 0; r < all; r++) parity_set(c.tensors[penalty].t, 0, r, r % 2 ? 1.4 : 1);
      parity_run(&c);
    }
  }
}

int main(void) {
  RUN(test_sample);
  RUN(test_sample_is_the_sampler);
  RUN(test_no_choice);
  RUN(test_beam);
  return test_done();
}
