// LLaMA's forward against transformers on tiny models of every variant: logits, loss, packed
// sequences, cached decoding; and the faults that these comparisons must see.
#include "test.h"
#include "tiny.h"

#include <math.h>

static const char *const variants[] = {"mha", "gqa", "llama3", "linear", "biases", "wide", "odd80"};
enum { VARIANTS = 7, SEQS = 3 };

// transformers' own f32 logits differ from a computation in double by up to 1.4e-5 here, and by the
// order of sums from ours; planted faults move them by 0.08 and more.
static const double logit_tolerance = 1e-4;

typedef struct Golden {
  Safetensors file;
  const int32_t *ids[SEQS];
  int64_t lengths[SEQS];
  const float *logits[SEQS], *loss[SEQS]; // loss NULL where there is none
} Golden;

static Golden golden_of(const char *variant) {
  Golden g;
  char path[200];
  snprintf(path, sizeof path, "tiny_llama/%s/expected.safetensors", variant);
  golden_open(&g.file, path);
  for (int s = 0; s < SEQS; s++) {
    g.ids[s] = golden_i32(&g.file, &g.lengths[s], "seq%d.ids", s);
    g.logits[s] = golden_f32(&g.file, NULL, "seq%d.logits", s);
    g.loss[s] = g.lengths[s] > 1 ? golden_f32(&g.file, NULL, "seq%d.loss", s) : NULL;
  }
  return g;
}

static void golden_free(Golden *g) {
  safetensors_close(&g->file);
}

static double distance(const float *a, const float *b, int64_t n) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
  }
  return worst;
}

// max |d logits| over the three sequences, each run alone.
static double alone(Tiny *tiny, const Golden *g) {
  double worst = 0;
  for (int s = 0; s < SEQS; s++) {
    TinyBatch batch = tiny_batch(1, &g->ids[s], &g->lengths[s]);
    float *logits = tiny_logits(tiny, &batch, NULL);
    worst = fmax(worst, distance(logits, g->logits[s], g->lengths[s] * tiny->model.config.vocab));
    free(logits);
    tiny_batch_free(&batch);
  }
  return worst;
}

static double packed(Tiny *tiny, const Golden *g) {
  double worst = 0;
  TinyBatch batch = tiny_batch(SEQS, g->ids, g->lengths);
  float *logits = tiny_logits(tiny, &batch, NULL);
  for (int s = 0; s < SEQS; s++) {
    int64_t V = tiny->model.config.vocab;
    worst = fmax(worst, distance(logits + batch.cu[s] * V, g->logits[s], g->lengths[s] * V));
  }
  free(logits);
  tiny_batch_free(&batch);
  return worst;
}

static void logits_and_loss(void) {
  for (int b = 0; b < TINY_BACKENDS; b++) {
    for (int v = 0; v < VARIANTS; v++) {
      Tiny tiny;
      Golden g = golden_of(variants[v]);
      tiny_open(&tiny, tiny_backend(b), &(TinyOptions){.variant = variants[v]});
      double one = alone(&tiny, &g), all = packed(&tiny, &g);
      EXPECT(one <= logit_tolerance, "%s: off by %g", variants[v], one);
      EXPECT(all <= logit_tolerance, "%s packed: off by %g", variants[v], all);
      for (int s = 0; s < SEQS; s++) {
        TinyBatch batch = tiny_batch(1, &g.ids[s], &g.lengths[s]);
        double loss = 0;
        tiny_loss(&tiny, &batch, 1, false, &loss);
        EXPECT(g.loss[s] != NULL || loss == 0, "%s: a loss without labels", variants[v]);
        if (g.loss[s] != NULL) {
          double mean = loss / (double)batch.batch.n_labels, d = fabs(mean - (double)g.loss[s][0]);
          // A mean of differences of logits that are right to 1e-4 at the worst.
          EXPECT(d <= 1e-5, "%s: loss %.7g off by %g", variants[v], mean, d);
        }
        tiny_batch_free(&batch);
      }
      golden_free(&g);
      tiny_close(&tiny);
    }
  }
}

// ---- cached decoding ----

// Sequence s from its row `from` on: `count` rows, or what there is.
typedef struct Piece {
  int64_t from[SEQS], count[SEQS];
} Piece;

// The batch of the next pieces of all sequences, positions going on from the cache.
static TinyBatch piece_batch(const Golden *g, const Piece *p) {
  const int32_t *ids[SEQS];
  for (int s = 0; s < SEQS; s++) ids[s] = g->ids[s] + p->from[s];
  TinyBatch batch = tiny_batch(SEQS, ids, p->count);
  for (int s = 0; s < SEQS; s++) {
    for (int32_t r = batch.cu[s]; r < batch.cu[s + 1]; r++) {
      batch.positions[r] += (int32_t)p->from[s];
    }
  }
  return batch;
}

// Runs the sequences in steps of at most `chunk` tokens until `until`, then one by one.
static double cached(Tiny *tiny, KvCache *cache, const Golden *g, int64_t chunk, int64_t until) {
  int64_t V = tiny->model.config.vocab;
  double worst = 0;
  Piece p = {{0}, {0}};
  for (;;) {
    int64_t rows = 0;
    for (int s = 0; s < SEQS; s++) {
      int64_t left = g->lengths[s] - p.from[s], most = p.from[s] < until ? chunk : 1;
      p.count[s] = left < most ? left : most;
      rows += p.count[s];
    }
    if (rows == 0) return worst;
    TinyBatch batch = piece_batch(g, &p);
    float *logits = tiny_logits(tiny, &batch, cache);
    for (int s = 0; s < SEQS; s++) {
      worst = fmax(
          worst, distance(logits + batch.cu[s] * V, g->logits[s] + p.from[s] * V, p.count[s] * V));
      p.from[s] += p.count[s];
    }
    free(logits);
    tiny_batch_free(&batch);
  }
}

static void cached_decoding_is_the_full_forward(void) {
  for (int b = 0; b < TINY_BACKENDS; b++) {
    for (int v = 0; v < VARIANTS; v++) {
      Tiny tiny;
      Golden g = golden_of(variants[v]);
      tiny_open(&tiny, tiny_backend(b), &(TinyOptions){.variant = variants[v]});
      const LlamaConfig *c = &tiny.model.config;
      KvCache cache;
      int64_t width = c->kv_heads * c->head_dim, before = tiny.rig.memory.cache.low;
      const KvCacheSize size = {.seqs = SEQS, .max_len = 66};
      kv_cache_init(&cache, &tiny.rig.memory.cache, DT_F32, c->layers, width, size);
      EXPECT(tiny.rig.memory.cache.low - before == kv_cache_bytes(DT_F32, c->layers, width, size));
      double d = cached(&tiny, &cache, &g, 25, 50); // 25, 25, then one by one over a page's border
      EXPECT(d <= logit_tolerance, "%s: cached decoding off by %g", variants[v], d);
      EXPECT(cache.lens[2] == 65 && cache.lens[0] == 1);
      kv_cache_reset(&cache);
      d = cached(&tiny, &cache, &g, 64, 64); // a prefill that ends with its page
      EXPECT(d <= logit_tolerance, "%s: after a reset off by %g", variants[v], d);
      // Back to the first 20 tokens and on again.
      kv_cache_truncate(&cache, 2, 20);
      Piece p = {{1, 13, 20}, {0, 0, 45}};
      TinyBatch batch = piece_batch(&g, &p);
      float *logits = tiny_logits(&tiny, &batch, &cache);
      d = distance(logits, g.logits[2] + 20 * c->vocab, 45 * c->vocab);
      EXPECT(d <= logit_tolerance, "%s: after a truncation off by %g", variants[v], d);
      free(logits);
      tiny_batch_free(&batch);
      kv_cache_free(&cache);
      golden_free(&g);
      tiny_close(&tiny);
    }
  }
}

// Pages in another order than the identity, as sharing or reordering would leave them.
static void pages_may_lie_anywhere(void) {
  for (int b = 0; b < TINY_BACKENDS; b++) {
    Tiny tiny;
    Golden g = golden_of("gqa");
    tiny_open(&tiny, tiny_backend(b), &(TinyOptions){.variant = "gqa"});
    const LlamaConfig *c = &tiny.model.config;
    KvCache cache;
    kv_cache_init(&cache, &tiny.rig.memory.cache, DT_F32, c->layers, c->kv_heads * c->head_dim,
                  (KvCacheSize){.seqs = SEQS, .max_len = 66});
    for (int i = 0; i < 2 * SEQS; i++) cache.spare[i] = (i * 5 + 2) % (2 * SEQS);
    double d = cached(&tiny, &cache, &g, 25, 50);
    EXPECT(d <= logit_tolerance, "off by %g", d);
    kv_cache_free(&cache);
    golden_free(&g);
    tiny_close(&tiny);
  }
}

// ---- planted faults ----

static void wrong_theta(LlamaConfig *c) {
  c->rope_theta *= 2;
}

static void wrong_eps(LlamaConfig *c) {
  c->rms_eps = c->rms_eps == 1e-6 ? 1e-5 : 1e-6;
}

static void no_scaling(LlamaConfig *c) {
  c->rope_scaling = ROPE_PLAIN;
}

static void tied(LlamaConfig *c) {
  c->tied = true;
}

// new[r] = old[row_of(r)] for the rows of a weight, in each layer.
static void permute(Tiny *tiny, const char *name, int64_t n_rows,
                    int64_t (*row_of)(const LlamaConfig *, int64_t)) {
  for (int layer = 0; layer < tiny->model.config.layers; layer++) {
    char whole[200];
    snprintf(whole, sizeof whole, "model.layers.%d.%s.weight", layer, name);
    const Param *p = param_find(&tiny->model.params, whole);
    int64_t cols = p->shape[1];
    float *old = tiny_weight(tiny, whole), *new = tiny_weight(tiny, whole);
    for (int64_t r = 0; r < n_rows; r++) {
      memcpy(new + r *cols, old + row_of(&tiny->model.config, r) * cols,
             (size_t)cols * sizeof *new);
    }
    tiny_set_weight(tiny, whole, new);
    free(old);
    free(new);
  }
}

// Row r of a head takes the row that rotary pairs (2i, 2i+1) would put there.
static int64_t interleaved(const LlamaConfig *c, int64_t r) {
  int64_t D = c->head_dim, head = r / D, i = r % D;
  return head * D + (i < D / 2 ? 2 * i : 2 * (i - D / 2) + 1);
}

static int64_t uninterleaved(const LlamaConfig *c, int64_t r) {
  int64_t D = c->head_dim, head = r / D, i = r % D;
  return head * D + (i % 2 == 0 ? i / 2 : D / 2 + i / 2);
}

static void wrong_pairing(Tiny *tiny) { // both rotated as if pairs were neighbours
  const LlamaConfig *c = &tiny->model.config;
  permute(tiny, "self_attn.q_proj", c->heads * c->head_dim, interleaved);
  permute(tiny, "self_attn.k_proj", c->kv_heads * c->head_dim, interleaved);
}

static void
permuted_twice(Tiny *tiny) { // as rows of a GGUF file that were put right once too often
  const LlamaConfig *c = &tiny->model.config;
  permute(tiny, "self_attn.q_proj", c->heads * c->head_dim, uninterleaved);
  permute(tiny, "self_attn.k_proj", c->kv_heads * c->head_dim, uninterleaved);
}

static int64_t next_kv_head(const LlamaConfig *c, int64_t r) {
  return (r + c->head_dim) % (c->kv_heads * c->head_dim);
}

static void wrong_groups(Tiny *tiny) { // every query head reads the next kv head
  const LlamaConfig *c = &tiny->model.config;
  permute(tiny, "self_attn.k_proj", c->kv_heads * c->head_dim, next_kv_head);
  permute(tiny, "self_attn.v_proj", c->kv_heads * c->head_dim, next_kv_head);
}

static void swapped_norms(Tiny *tiny) {
  for (int layer = 0; layer < tiny->model.config.layers; layer++) {
    char first[200], second[200];
    snprintf(first, sizeof first, "model.layers.%d.input_layernorm.weight", layer);
    snprintf(second, sizeof second, "model.layers.%d.post_attention_layernorm.weight", layer);
    float *a = tiny_weight(tiny, first), *b = tiny_weight(tiny, second);
    tiny_set_weight(tiny, first, b);
    tiny_set_weight(tiny, second, a);
    free(a);
    free(b);
  }
}

static void scale_weights(Tiny *tiny, const char *part, float factor) {
  for (int64_t i = 0; i < tiny->model.params.n; i++) {
    const Param *p = &tiny->model.params.items[i];
    if (strstr(p->name, part) == NULL) continue;
    float *values = tiny_weight(tiny, p->name);
    for (int64_t k = 0; k < tensor_count(p->value.t); k++) values[k] *= factor;
    tiny_set_weight(tiny, p->name, values);
    free(values);
  }
}

static void wrong_scale(Tiny *tiny) { // 1 / D instead of 1 / sqrt(D)
  scale_weights(tiny, "q_proj", 1 / sqrtf((float)tiny->model.config.head_dim));
}

static void no_biases(Tiny *tiny) {
  scale_weights(tiny, ".bias", 0);
}

static void faults_are_seen(void) {
  static const struct {
    const char *what, *variant;
    void (*config)(LlamaConfig *);
    void (*weights)(Tiny *);
  } faults[] = {
      {"theta", "mha", wrong_theta, NULL},
      {"theta", "gqa", wrong_theta, NULL},
      {"eps", "mha", wrong_eps, NULL},
      {"eps", "gqa", wrong_eps, NULL},
      {"rotary pairing", "mha", NULL, wrong_pairing},
      {"rotary pairing", "odd80", NULL, wrong_pairing},
      {"q/k permutation", "mha", NULL, permuted_twice},
      {"q/k permutation", "wide", NULL, permuted_twice},
      {"grouped heads", "gqa", NULL, wrong_groups},
      {"grouped heads", "llama3", NULL, wrong_groups},
      {"norm order", "mha", NULL, swapped_norms},
      {"tied head", "mha", tied, NULL},
      {"scale", "gqa", NULL, wrong_scale},
      {"scale", "odd80", NULL, wrong_scale},
      {"no rope scaling", "llama3", no_scaling, NULL},
      {"no rope scaling", "linear", no_scaling, NULL},
      {"no biases", "biases", NULL, no_biases},
  };
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    Tiny tiny;
    Golden g = golden_of(faults[i].variant);
    tiny_open(&tiny, tiny_backend(0),
              &(TinyOptions){.variant = faults[i].variant, .change_config = faults[i].config});
    if (faults[i].weights != NULL) faults[i].weights(&tiny);
    double d = alone(&tiny, &g);
    EXPECT(d >= 100 * logit_tolerance, "%s in %s moves the logits by %g only", faults[i].what,
           faults[i].variant, d);
    printf("  %-16s %-8s %g\n", faults[i].what, faults[i].variant, d);
    golden_free(&g);
    tiny_close(&tiny);
  }
}

int main(void) {
  RUN(logits_and_loss);
  RUN(cached_decoding_is_the_full_forward);
  RUN(pages_may_lie_anywhere);
  RUN(faults_are_seen);
  return test_done();
}
