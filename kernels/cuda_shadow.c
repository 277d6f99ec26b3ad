// The CUDA backend's stand-in for plans: every op checks its arguments and notes the scratch that
// it would take, by the same functions of shape that the ops themselves ask.
#include "cuda/cuda_scratch.h"
#include "op_check.h"

#include <stdlib.h>

static void note(Backend *be, int64_t bytes) {
  bytes = cuda_round(bytes);
  if (bytes > be->counts.scratch) be->counts.scratch = bytes; // one block for all ops
}

static void shadow_linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  (void)acc;
  op_check_linear(be, y, x, w, bias);
  if (tensor_count(y) > 0) note(be, cuda_scratch_linear(y, x, w, bias));
}

static void shadow_linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  op_check_linear_back_x_acc(be, dx, dy, w);
  if (tensor_count(dx) > 0) note(be, cuda_scratch_linear_back_x(dx, dy, w));
}

static void shadow_linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  op_check_linear_back_w_acc(be, dw, db, dy, x);
  if (dy.rows > 0) note(be, cuda_scratch_linear_back_w(dw, db, dy, x));
}

static void shadow_rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z,
                                    Tensor rstd, Tensor w) {
  op_check_rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
  if (tensor_given(dw)) note(be, cuda_scratch_column_sum(dy.rows, dy.cols));
}

static void shadow_layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy,
                                      Tensor z, Tensor mean, Tensor rstd, Tensor w) {
  op_check_layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
  if (tensor_given(dw) || tensor_given(db)) note(be, cuda_scratch_column_sum(dy.rows, dy.cols));
}

static void shadow_lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                                 Tensor t, Tensor x, Tensor a, Tensor b, float scale,
                                 RowSelect select, const Dropout *dropout) {
  (void)scale;
  op_check_lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, select, dropout);
  if (tensor_count(dt) > 0) note(be, cuda_scratch_lora_back(da, db, x.rows));
}

static void shadow_attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                             const AttentionArgs *args) {
  op_check_attention(be, o, lse, q, k, v, args);
  note(be, cuda_scratch_attention(q, args));
}

static void shadow_attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                                      Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k,
                                      Tensor v, const AttentionArgs *args) {
  op_check_attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
  note(be, cuda_scratch_attention_back(q, dbias, args->n_heads));
}

static void shadow_sum_acc(Backend *be, Tensor out, Tensor x) {
  op_check_sum_acc(be, out, x);
  note(be, cuda_scratch_sum(x));
}

static void shadow_sum_squares(Backend *be, Tensor out, Tensor x) {
  op_check_sum_squares(be, out, x);
  note(be, cuda_scratch_sum(x));
}

static void shadow_adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                         const AdamArgs *args) {
  op_check_adamw(be, w, master, m, v, g, args);
  if (tensor_count(w) > 0) note(be, CUDA_ADAM_BYTES);
}

static void shadow_sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args) {
  op_check_sample(be, ids, logits, args);
  note(be, cuda_scratch_sample(logits));
}

static void shadow_beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                             const BeamArgs *args) {
  op_check_beam_step(be, scores, parents, ids, logits, args);
  note(be, cuda_scratch_beam(scores, args->beams));
}

static void shadow_forget(Backend *be) {
  be->counts.scratch = 0;
}

static void shadow_close(Backend *be) {
  free(be);
}

// An op that takes no scratch is not in the table.
Status backend_cuda_shadow_open(Backend **out, Error *err) {
  Backend *be = calloc(1, sizeof *be);
  if (be == NULL)
    return error_set(err, STATUS_MEMORY, "no memory for the shadow of the CUDA backend");
  be->name = "cuda-shadow";
  be->row_multiple = CUDA_ROW_MULTIPLE;
  be->few_rows = CUDA_MATVEC_ROWS;
  be->close = shadow_close;
  be->forget = shadow_forget;
  be->linear = shadow_linear;
  be->linear_back_x_acc = shadow_linear_back_x_acc;
  be->linear_back_w_acc = shadow_linear_back_w_acc;
  be->rmsnorm_back_acc = shadow_rmsnorm_back_acc;
  be->layernorm_back_acc = shadow_layernorm_back_acc;
  be->lora_back_acc = shadow_lora_back_acc;
  be->attention = shadow_attention;
  be->attention_back_acc = shadow_attention_back_acc;
  be->sum_acc = shadow_sum_acc;
  be->sum_squares = shadow_sum_squares;
  be->adamw = shadow_adamw;
  be->sample = shadow_sample;
  be->beam_step = shadow_beam_step;
  *out = be;
  return STATUS_OK;
}

int64_t backend_cuda_fixed_bytes(void) {
  return CUDA_WORKSPACE + CUDA_RING_BYTES;
}
