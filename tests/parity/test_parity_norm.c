// RMSNorm and LayerNorm with their gradients against the reference.
#include "parity.h"
#include "test.h"

static const DType floats[] = {DT_F32, DT_BF16};
static const int64_t shapes[][3] = {{0, 5, 0},    {1, 1, 0},   {3, 7, 1},    {65, 33, 2},
                                    {128, 16, 3}, {7, 576, 0}, {131, 61, 5}, {63, 255, 0},
                                    {64, 257, 1}, {301, 61, 1}}; // the last by several threads
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct Form {
  bool layer, residual; // LayerNorm; z = x + d
  bool dx, dw, dw_f;    // gradients wanted; dw in F, not f32
  int alias;            // z is: 0 its own, 1 x, 2 d
} Form;

static void call_norm(Backend *be, const Tensor *t, const void *user) {
  const Form *form = user;
  Tensor z = form->residual ? t[4] : TENSOR_NONE, d = form->residual ? t[5] : TENSOR_NONE;
  if (form->alias > 0) z = form->alias == 1 ? t[2] : t[5];
  if (form->layer) {
    int at = form->residual ? 6 : 4;
    be->layernorm(be, z, t[0], t[at], t[1], t[2], d, t[3], t[at + 1], 1e-5f);
  } else {
    be->rmsnorm(be, z, t[0], t[1], t[2], d, t[3], 1e-5f);
  }
}

static void call_back(Backend *be, const Tensor *t, const void *user) {
  const Form *form = user;
  Tensor dx = form->dx ? t[4] : TENSOR_NONE, dw = form->dw ? t[5] : TENSOR_NONE;
  if (form->layer) {
    be->layernorm_back_acc(be, dx, dw, form->dw ? t[6] : TENSOR_NONE, t[0], t[1], t[7], t[2], t[3]);
  } else {
    be->rmsnorm_back_acc(be, dx, dw, t[0], t[1], t[2], t[3]);
  }
}

static float load(Tensor t, int64_t r, int64_t c) {
  return (float)parity_get(t, r, c);
}

// The gradients with every sum in f32, one after the other.
static void naive_back(const Tensor *t, const void *user) {
  const Form *form = user;
  Tensor dy = t[0], z = t[1], rstd = t[2], w = t[3];
  int64_t cols = dy.cols;
  float *dw = calloc((size_t)cols + 1, sizeof *dw), *db = calloc((size_t)cols + 1, sizeof *db);
  for (int64_t r = 0; r < dy.rows; r++) {
    float s = load(rstd, 0, r), mean = form->layer ? load(t[7], 0, r) : 0, along = 0, centre = 0;
    for (int64_t c = 0; c < cols; c++) {
      float n = (load(z, r, c) - mean) * s, dn = load(w, 0, c) * load(dy, r, c);
      along += dn * n;
      centre += dn;
      dw[c] += load(dy, r, c) * n;
      db[c] += load(dy, r, c);
    }
    if (!form->layer) centre = 0;
    for (int64_t c = 0; form->dx && c < cols; c++) {
      float n = (load(z, r, c) - mean) * s, dn = load(w, 0, c) * load(dy, r, c);
      float g = s * (dn - centre / (float)cols - n * (along / (float)cols));
      parity_set(t[4], r, c, (double)(load(t[4], r, c) + g));
    }
  }
  for (int64_t c = 0; form->dw && c < cols; c++) {
    parity_set(t[5], 0, c, (double)(load(t[5], 0, c) + dw[c]));
    if (form->layer) parity_set(t[6], 0, c, (double)(load(t[6], 0, c) + db[c]));
  }
  free(dw);
  free(db);
}

static void test_forward(void) {
  for (int k = 0; k < 8; k++) {
    Form form = {.layer = k & 1, .residual = k & 6, .alias = k / 2 > 0 ? k / 2 - 1 : 0};
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        ParityCase c = {.call = call_norm, .user = &form};
        snprintf(c.name, sizeof c.name, "%s%s%s %s %lldx%lld", form.layer ? "layernorm" : "rmsnorm",
                 form.residual ? " of a sum" : "",
                 form.alias == 1   ? " in x"
                 : form.alias == 2 ? " in d"
                                   : "",
                 dtype_info(floats[f])->name, (long long)d[0], (long long)d[1]);
        parity_add(&c, "y", PARITY_OUT, floats[f], d[0], d[1], d[2], 1);
        parity_add(&c, "rstd", PARITY_OUT, DT_F32, 1, d[0], 0, 1);
        parity_add(&c, "x", form.alias == 1 ? PARITY_ACC : PARITY_IN, floats[f], d[0], d[1],
                   d[2] + 1, 1.5);
        parity_add(&c, "w", PARITY_IN, floats[f], 1, d[1], 0, 1);
        if (form.residual) {
          parity_add(&c, "z", form.alias > 0 ? PARITY_IN : PARITY_OUT, floats[f], d[0], d[1],
                     d[2] + 2, 1);
          parity_add(&c, "d", form.alias == 2 ? PARITY_ACC : PARITY_IN, floats[f], d[0], d[1], 0,
                     1);
        }
        if (form.layer) {
          parity_add(&c, "mean", PARITY_OUT, DT_F32, 1, d[0], 0, 1);
          parity_add(&c, "b", PARITY_IN, floats[f], 1, d[1], 0, 1);
        }
        parity_run(&c);
      }
    }
  }
}

static void test_backward(void) {
  static const Form forms[] = {{.dx = true, .dw = true},
                               {.dx = true},
                               {.dw = true, .dw_f = true},
                               {.layer = true, .dx = true, .dw = true},
                               {.layer = true, .dw = true, .dw_f = true}};
  for (int k = 0; k < 5; k++) {
    const Form *form = &forms[k];
    for (int f = 0; f < 2; f++) {
      for (int s = 0; s < N_SHAPES; s++) {
        const int64_t *d = shapes[s];
        DType dw = form->dw_f ? floats[f] : DT_F32;
        ParityCase c = {.call = call_back, .user = form, .naive = naive_back};
        snprintf(c.name, sizeof c.name, "%s_back_acc form %d %s %lldx%lld",
                 form->layer ? "layernorm" : "rmsnorm", k, dtype_info(floats[f])->name,
                 (long long)d[0], (long long)d[1]);
        parity_add(&c, "dy", PARITY_IN, floats[f], d[0], d[1], d[2], 1);
        parity_add(&c, "z", PARITY_IN, floats[f], d[0], d[1], d[2] + 1, 1);
        parity_add(&c, "rstd", PARITY_IN, DT_F32, 1, d[0], 0, 1);
        parity_add(&c, "w", PARITY_IN, floats[f], 1, d[1], 0, 1);
        parity_add(&c, "dx", PARITY_ACC, floats[f], d[0], d[1], d[2] + 2, 1);
        parity_add(&c, "dw", PARITY_ACC, dw, 1, d[1], 0, 1);
        parity_add(&c, "db", PARITY_ACC, dw, 1, d[1], 0, 1);
        parity_add(&c, "mean", PARITY_IN, DT_F32, 1, d[0], 0, 1);
        parity_run(&c);
      }
    }
  }
}

int main(void) {
  RUN(test_forward);
  RUN(test_backward);
  return test_done();
}
