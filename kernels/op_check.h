// What every backend does first in an op: checks the shapes and dtypes of its tensors and counts
// one launch. One function per op of backend.h with the op's own arguments, so that a mistake reads
// the same whichever backend meets it: the op, the argument, what it is and what it should be.
// Values inside tensors (ids, rows, targets) are not looked at: they may lie on a device.
#ifndef VMA_OP_CHECK_H
#define VMA_OP_CHECK_H

#include "backend.h"

void op_check_fill(Backend *be, Tensor y);
void op_check_cast(Backend *be, Tensor y, Tensor x);
void op_check_add(Backend *be, Tensor y, Tensor a, Tensor b);
void op_check_scale(Backend *be, const char *op, Tensor y, Tensor x, Tensor a);
void op_check_dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout);
void op_check_act(Backend *be, Tensor y, Tensor x, Activation kind);
void op_check_act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind);
void op_check_glu(Backend *be, Tensor y, Tensor gu, Activation kind);
void op_check_glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind);

void op_check_embedding(Backend *be, Tensor y, Tensor table, Tensor ids);
void op_check_embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids);
void op_check_gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows);
void op_check_scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows);
void op_check_patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args);

void op_check_rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w);
void op_check_rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                               Tensor w);
void op_check_layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                        Tensor d, Tensor w, Tensor b);
void op_check_layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                                 Tensor mean, Tensor rstd, Tensor w);

void op_check_rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                         const RopeArgs *args);
void op_check_rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                  const RopeArgs *args);
void op_check_attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                        const AttentionArgs *args);
void op_check_attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                                 Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                                 const AttentionArgs *args);

void op_check_linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias);
void op_check_linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w);
void op_check_linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x);

void op_check_lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                        const Dropout *dropout);
void op_check_lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, RowSelect select);
void op_check_lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                            Tensor t, Tensor x, Tensor a, Tensor b, RowSelect select,
                            const Dropout *dropout);

void op_check_cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                            const CrossEntropyArgs *args);
void op_check_log_probs(Backend *be, Tensor log_probs, Tensor best, Tensor logits, Tensor targets);

void op_check_sum_acc(Backend *be, Tensor out, Tensor x);
void op_check_sum_squares(Backend *be, Tensor out, Tensor x);
void op_check_clip_factor(Backend *be, Tensor clip, Tensor sums, Tensor guard);
void op_check_adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                    const AdamArgs *args);

void op_check_sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args);
void op_check_beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                        const BeamArgs *args);

#endif
