#include "llama.h"

#include "check.h"

#include <math.h>
#include <stdlib.h>

// ---- declaration ----

static Param *declare(Llama *m, int bucket, int group, bool decayed, int64_t rows, int64_t cols,
                      const char *name, int layer) {
  int64_t shape[] = {rows, cols};
  int n_dims = 2;
  if (cols == 0) n_dims = 1;
  if (layer < 0)
    return param_declare(&m->params, m->dtype, bucket, group, decayed, n_dims, shape, "%s", name);
  return param_declare(&m->params, m->dtype, bucket, group, decayed, n_dims, shape,
                       "model.layers.%d.%s", layer, name);
}

typedef struct PartName {
  const char *weight, *bias;
  int64_t rows;
} PartName;

// Declares the weights of a linear layer side by side, then its biases side by side.
static void declare_linear(Llama *m, Linear *linear, int layer, int group, int64_t in, bool biased,
                           const PartName *parts, int n) {
  Param *weights[LINEAR_MAX_PARTS], *biases[LINEAR_MAX_PARTS] = {0};
  for (int i = 0; i < n; i++)
    weights[i] = declare(m, layer, group, true, parts[i].rows, in, parts[i].weight, layer);
  for (int i = 0; biased && i < n; i++) {
    biases[i] = declare(m, layer, group + 1, false, parts[i].rows, 0, parts[i].bias, layer);
  }
  for (int i = 0; i < n; i++) linear_add_part(linear, weights[i], biases[i]);
}

static void declare_block(Llama *m, int layer) {
  const LlamaConfig *c = &m->config;
  LlamaBlock *b = &m->blocks[layer];
  int64_t C = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, F = c->ffn;
  bool ab = c->attention_bias, mb = c->mlp_bias;
  b->input_norm = declare(m, layer, 0, false, C, 0, "input_layernorm.weight", layer);
  declare_linear(m, &b->qkv, layer, 1, C, ab,
                 (PartName[]){{"self_attn.q_proj.weight", "self_attn.q_proj.bias", q},
                              {"self_attn.k_proj.weight", "self_attn.k_proj.bias", kv},
                              {"self_attn.v_proj.weight", "self_attn.v_proj.bias", kv}},
                 3);
  declare_linear(m, &b->o, layer, 3, q, ab,
                 (PartName[]){{"self_attn.o_proj.weight", "self_attn.o_proj.bias", C}}, 1);
  b->post_norm = declare(m, layer, 0, false, C, 0, "post_attention_layernorm.weight", layer);
  declare_linear(m, &b->gate_up, layer, 5, C, mb,
                 (PartName[]){{"mlp.gate_proj.weight", "mlp.gate_proj.bias", F},
                              {"mlp.up_proj.weight", "mlp.up_proj.bias", F}},
                 2);
  declare_linear(m, &b->down, layer, 7, F, mb,
                 (PartName[]){{"mlp.down_proj.weight", "mlp.down_proj.bias", C}}, 1);
}

// Buckets: a block's number, the final norm and an untied head after them. The embedding, of which
// the backward writes last, has one of its own, also where it is the head as well.
enum { EMBED_BUCKET = -1 };

// Weights and biases of a block, and one adapter pair for each of its seven linear layers and
// adapter number.
enum { PARAMS_PER_BLOCK = 16 + 14 * MAX_ADAPTERS };

void llama_init(Llama *m, const LlamaConfig *config, DType dtype) {
  *m = (Llama){.config = *config, .dtype = dtype};
  int64_t layers = config->layers;
  param_table_init(&m->params, layers * PARAMS_PER_BLOCK + 4);
  m->blocks = calloc((size_t)layers, sizeof *m->blocks);
  m->host_freq = calloc((size_t)config->head_dim / 2, sizeof(float));
  CHECK(m->blocks != NULL && m->host_freq != NULL, "no memory for %lld blocks", (long long)layers);
  m->embed = declare(m, EMBED_BUCKET, 0, true, config->vocab, config->hidden,
                     "model.embed_tokens.weight", -1);
  for (int i = 0; i < layers; i++) declare_block(m, i);
  m->norm = declare(m, (int)layers, 0, false, config->hidden, 0, "model.norm.weight", -1);
  Param *head = m->embed;
  if (!config->tied)
    head = declare(m, (int)layers, 0, true, config->vocab, config->hidden, "lm_head.weight", -1);
  linear_add_part(&m->head, head, NULL);
  llama_config_inv_freq(config, m->host_freq);
}

void llama_free(Llama *m) {
  param_table_free(&m->params);
  free(m->blocks);
  free(m->host_freq);
  *m = (Llama){0};
}

void llama_train_all(Llama *m) {
  for (int64_t i = 0; i < m->params.n; i++) m->params.items[i].trainable = true;
}

Status llama_attach_lora(Llama *m, const LoraSpec *spec, int index, bool trainable, Error *err) {
  int n = 0;
  Linear **linears = malloc((size_t)m->config.layers * 4 * sizeof *linears);
  int *buckets = malloc((size_t)m->config.layers * 4 * sizeof *buckets);
  CHECK(linears != NULL && buckets != NULL, "no memory for %lld blocks",
        (long long)m->config.layers);
  for (int i = 0; i < m->config.layers; i++) {
    LlamaBlock *b = &m->blocks[i];
    Linear *of_block[] = {&b->qkv, &b->o, &b->gate_up, &b->down};
    for (int k = 0; k < 4; k++, n++) {
      linears[n] = of_block[k];
      buckets[n] = i;
    }
  }
  Status status = lora_attach(&m->params, linears, buckets, n, spec, index, trainable, err);
  free(linears);
  free(buckets);
  return status;
}

void llama_place(Llama *m, Backend *be, Arena *weights, Arena *state) {
  param_place(&m->params, weights, state);
  int64_t n = m->config.head_dim / 2;
  m->inv_freq = arena_tensor(weights, ARENA_LOW, DT_F32, 1, n, "inv_freq");
  be->copy_in(be, m->inv_freq, m->host_freq);
}

void llama_plan(const Llama *m, int64_t *weights_bytes, int64_t *state_bytes) {
  param_plan(&m->params, weights_bytes, state_bytes);
  int64_t freq = m->config.head_dim / 2 * (int64_t)sizeof(float);
  *weights_bytes += (freq + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

// ---- forward ----

typedef struct BlockArgs {
  Llama *model;
  int layer;
  const DeviceBatch *batch;
  KvCache *cache;
  Value *x, *out;
} BlockArgs;

static Value *attend(Ctx *ctx, const BlockArgs *a, Value *qkv) {
  const LlamaConfig *c = &a->model->config;
  const DeviceBatch *batch = a->batch;
  RopeArgs rope = {.n_heads = c->heads,
                   .n_kv_heads = c->kv_heads,
                   .head_dim = c->head_dim,
                   .positions = batch->positions,
                   .inv_freq = a->model->inv_freq,
                   .slots = batch->slots,
                   .max_position = batch->max_k};
  Tensor cache_k = TENSOR_NONE, cache_v = TENSOR_NONE;
  if (a->cache != NULL) {
    cache_k = a->cache->k[a->layer];
    cache_v = a->cache->v[a->layer];
  }
  Qkv p = op_rope_split(ctx, qkv, &rope, cache_k, cache_v);
  AttentionArgs args = {.n_heads = c->heads,
                        .n_kv_heads = c->kv_heads,
                        .head_dim = c->head_dim,
                        .scale = (float)(1.0 / sqrt((double)c->head_dim)),
                        .n_seqs = batch->n_seqs,
                        .max_q = batch->max_q,
                        .max_k = batch->max_k,
                        .cu_q = batch->cu_seqlens,
                        .cu_k = batch->cu_seqlens,
                        .k_lens = batch->k_lens,
                        .offset = batch->offset,
                        .pages = batch->pages,
                        .page_size = KV_PAGE};
  return op_attention(ctx, p.q, p.k, p.v, NULL, &args);
}

// The ops before this one in the forward leave the bucket's gradients alone.
static void begin_bucket(Ctx *ctx, const Llama *m, int number) {
  if (param_bucket(&m->params, number) != NULL) tape_bucket(ctx, number);
}

static void run_block(Ctx *ctx, void *arguments) {
  const BlockArgs *a = arguments;
  begin_bucket(ctx, a->model, a->layer);
  const LlamaBlock *b = &a->model->blocks[a->layer];
  float eps = (float)a->model->config.rms_eps;
  Value *h = op_rmsnorm(ctx, a->x, b->input_norm, eps, linear_input_life(ctx, &b->qkv));
  Value *qkv = op_linear(ctx, &b->qkv, h, a->batch, TEMP);
  Value *o = attend(ctx, a, qkv);
  Value *d = op_linear(ctx, &b->o, o, a->batch, TEMP), *z;
  h = op_add_rmsnorm(ctx, &z, a->x, d, b->post_norm, eps, linear_input_life(ctx, &b->gate_up));
  Value *gu = op_linear(ctx, &b->gate_up, h, a->batch, KEEP);
  Value *y = op_glu(ctx, gu, ACT_SILU, linear_input_life(ctx, &b->down));
  d = op_linear(ctx, &b->down, y, a->batch, TEMP);
  op_add(ctx, a->out, z, d, KEEP);
}

Value *llama_trunk(Ctx *ctx, Llama *m, const DeviceBatch *batch, KvCache *cache) {
  bool was_recording = ctx->recording;
  begin_bucket(ctx, m, EMBED_BUCKET);
  Value *x = op_embedding(ctx, m->embed, batch->ids, KEEP);
  Value *spare = NULL; // without a tape two buffers serve all blocks in turn
  for (int i = 0; i < m->config.layers; i++) {
    // Blocks with nothing trainable in or before them need no backward: they run as in inference.
    ctx->recording = was_recording && (x->needs_grad || param_bucket(&m->params, i) != NULL);
    Value *out = spare;
    if (out == NULL) out = value_new(ctx, KEEP, batch->n_rows, m->config.hidden, "block output");
    spare = ctx->recording ? NULL : x;
    BlockArgs *args = arena_alloc(ctx->host, ARENA_LOW, sizeof *args, "block arguments");
    *args = (BlockArgs){.model = m, .layer = i, .batch = batch, .cache = cache, .x = x, .out = out};
    tape_segment(ctx, &(Segment){.run = run_block,
                                 .args = args,
                                 .in = {x},
                                 .n_in = 1,
                                 .out = {out},
                                 .n_out = 1,
                                 .checkpoint = i < m->checkpoint_blocks,
                                 .residual = true});
    x = out;
  }
  ctx->recording = was_recording;
  return x;
}

void llama_loss(Ctx *ctx, Llama *m, const DeviceBatch *batch, Tensor inv_count, Tensor loss) {
  Value *trunk = llama_trunk(ctx, m, batch, NULL);
  begin_bucket(ctx, m, (int)m->config.layers);
  Value *x = op_gather_rows(ctx, trunk, batch->label_rows, KEEP);
  Value *h = op_rmsnorm(ctx, x, m->norm, (float)m->config.rms_eps, TEMP);
  op_linear_cross_entropy(ctx, &m->head, h, batch->label_ids, inv_count, 0, loss);
}

Tensor llama_logits(Ctx *ctx, Llama *m, Value *trunk, Tensor rows) {
  CHECK(!ctx->recording, "logits are not recorded: llama_loss is");
  Value *x = op_gather_rows(ctx, trunk, rows, TEMP);
  Value *h = op_rmsnorm(ctx, x, m->norm, (float)m->config.rms_eps, TEMP);
  Tensor logits = ctx_tensor(ctx, TEMP, ctx_stat_dtype(ctx), rows.cols, m->config.vocab, "logits");
  ctx->be->linear(ctx->be, logits, h->t, m->head.parts[0].weight->value.t, TENSOR_NONE, false);
  return logits;
}
