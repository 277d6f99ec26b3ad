#include "golden.h"

#include "check.h"

#include <stdarg.h>
#include <stdio.h>

void golden_open(Safetensors *file, const char *path) {
  char full[512];
  snprintf(full, sizeof full, "tests/golden/%s", path);
  Error err;
  Status status = safetensors_open(file, full, &err);
  CHECK(status == STATUS_OK, "%s", err.message);
}

static const void *find(const Safetensors *file, DType dtype, int64_t *count, const char *fmt,
                        va_list args) {
  char name[256];
  vsnprintf(name, sizeof name, fmt, args);
  const SafeTensor *t = safetensors_find(file, name);
  CHECK(t != NULL, "%s has no tensor %s", file->path, name);
  CHECK(t->dtype == dtype, "%s: %s is %s", file->path, name, t->dtype_name);
  const uint8_t *data = file->data + t->offset;
  CHECK((uintptr_t)data % (uintptr_t)dtype_bytes(dtype, 1) == 0, "%s: %s is not aligned",
        file->path, name);
  if (count != NULL) *count = t->bytes / dtype_bytes(dtype, 1);
  return data;
}

#define GOLDEN_GETTER(name, type, dtype)                                                           \
  const type *name(const Safetensors *file, int64_t *count, const char *fmt, ...) {                \
    va_list args;                                                                                  \
    va_start(args, fmt);                                                                           \
    const void *data = find(file, dtype, count, fmt, args);                                        \
    va_end(args);                                                                                  \
    return data;                                                                                   \
  }

GOLDEN_GETTER(golden_f32, float, DT_F32)
GOLDEN_GETTER(golden_i32, int32_t, DT_I32)
GOLDEN_GETTER(golden_u8, char, DT_U8)
