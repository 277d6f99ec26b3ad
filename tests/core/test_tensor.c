// Tensor views and dtypes.
#include "rig.h"
#include "tensor.h"
#include "test.h"

static void dtypes(void) {
  static const struct {
    DType dtype;
    const char *name;
    int64_t n, bytes;
    bool is_float;
  } rows[] = {{DT_F32, "f32", 3, 12, true},       {DT_BF16, "bf16", 3, 6, true},
              {DT_F16, "f16", 3, 6, true},        {DT_F64, "f64", 3, 24, true},
              {DT_I32, "i32", 3, 12, false},      {DT_I64, "i64", 3, 24, false},
              {DT_U8, "u8", 3, 3, false},         {DT_Q8_0, "q8_0", 64, 68, false},
              {DT_Q4_0, "q4_0", 64, 36, false},   {DT_Q4_1, "q4_1", 64, 40, false},
              {DT_Q4_K, "q4_k", 512, 288, false}, {DT_Q6_K, "q6_k", 512, 420, false}};
  EXPECT(sizeof rows / sizeof *rows == DT_COUNT);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    EXPECT(strcmp(dtype_info(rows[i].dtype)->name, rows[i].name) == 0, "%s", rows[i].name);
    EXPECT(dtype_info(rows[i].dtype)->is_float == rows[i].is_float, "%s", rows[i].name);
    EXPECT(dtype_from_name(rows[i].name) == rows[i].dtype, "%s", rows[i].name);
    EXPECT(dtype_bytes(rows[i].dtype, rows[i].n) == rows[i].bytes, "%s", rows[i].name);
  }
  EXPECT(dtype_from_name("f8") == DT_COUNT && dtype_from_name("") == DT_COUNT);
  EXPECT(dtype_bytes(DT_F32, INT64_C(1) << 40) == INT64_C(1) << 42);
}

static void views_share_memory(void) {
  float data[6 * 5];
  Tensor t = tensor_make(data, DT_F32, 6, 5);
  EXPECT(t.stride == 5 && tensor_count(t) == 30 && tensor_bytes(t) == 120);
  Tensor r = tensor_rows(t, 2, 3), c = tensor_cols(r, 1, 3);
  EXPECT(r.data == &data[10] && r.rows == 3 && r.cols == 5);
  EXPECT(c.data == &data[11] && c.rows == 3 && c.cols == 3 && c.stride == 5);
  EXPECT(tensor_bytes(c) == (2 * 5 + 3) * 4, "up to the end of the last row");
  EXPECT(tensor_rows(c, 1, 1).data == &data[16], "rows of a strided view");
  EXPECT(tensor_rows(t, 6, 0).rows == 0 && tensor_bytes(tensor_rows(t, 6, 0)) == 0);
  Tensor flat = tensor_reshape(t, 2, 15);
  EXPECT(flat.data == data && flat.stride == 15 && flat.rows == 2);
  EXPECT(!tensor_given(TENSOR_NONE) && tensor_given(t));
}

static void quantised_views_are_whole_blocks(void) {
  char data[2 * 3 * 18];
  Tensor t = tensor_make(data, DT_Q4_0, 2, 96);
  EXPECT(tensor_bytes(t) == 2 * 54);
  EXPECT(tensor_rows(t, 1, 1).data == data + 54);
  EXPECT(tensor_cols(t, 32, 64).data == data + 18);
}

static void rows_outside(void *t) {
  tensor_rows(*(Tensor *)t, 1, 2);
}

static void cols_outside(void *t) {
  tensor_cols(*(Tensor *)t, 64, 64);
}

static void half_a_block(void *t) {
  tensor_cols(*(Tensor *)t, 16, 32);
}

static void reshaped_view(void *t) {
  tensor_reshape(tensor_cols(*(Tensor *)t, 0, 32), 1, 64);
}

static void our_mistakes_end_the_program(void) {
  char data[2 * 3 * 18];
  Tensor t = tensor_make(data, DT_Q4_0, 2, 96);
  EXPECT(rig_aborts(rows_outside, &t, "rows [1, +2) of 2"));
  EXPECT(rig_aborts(cols_outside, &t, "columns [64, +64) of 96"));
  EXPECT(rig_aborts(half_a_block, &t, "16 elements are no whole number of q4_0 blocks"));
  EXPECT(rig_aborts(reshaped_view, &t, "[2,32] stride 96 as [1,64]"));
}

int main(void) {
  RUN(dtypes);
  RUN(views_share_memory);
  RUN(quantised_views_are_whole_blocks);
  RUN(our_mistakes_end_the_program);
  return test_done();
}
