// What work that is no kernel (products, copies) may do with whole ranges of memory: the same rules
// as for a kernel's accesses, asked once a row.
#include "sim_check.h"

#include <string.h>

bool sim_check_range(const char *who, const char *what, const void *from, int64_t rows, int64_t row,
                     int64_t stride, bool reads, bool writes) {
  const SimOp *op = sim_op_now();
  const char *verb = writes ? "writes" : "reads";
  char place[200];
  int guess = 0;
  if (rows <= 0 || row <= 0) return true;
  for (int64_t i = 0; i < rows; i++) {
    const uint8_t *at = (const uint8_t *)from + i * stride;
    const SimMemory *m = sim_memory_find(at);
    if (m == NULL || m->kind != SIM_MEMORY_DEVICE || at + row > m->data + m->bytes) {
      const SimFault fault = m == NULL                      ? sim_memory_stray(at)
                             : m->kind != SIM_MEMORY_DEVICE ? SIM_HOST_POINTER
                                                            : SIM_OUT_OF_BOUNDS;
      sim_report(fault, NULL, (SimLine){0}, "%s: %s at %p, row %lld of %lld bytes, %s", who, what,
                 (const void *)at, (long long)i, (long long)row,
                 fault == SIM_RELEASED        ? "is in memory that was freed"
                 : fault == SIM_OUT_OF_BOUNDS ? "goes beyond its allocation"
                                              : "is in no memory of the device");
      return false;
    }
    const uint64_t address = (uint64_t)(uintptr_t)at;
    if (op != NULL && op->n > 0 && check_declared(op, address, row, reads, writes, &guess) != NULL)
      continue;
    const SimTensorName *t = sim_tensor_at(m, at);
    const int64_t inside = t != NULL ? at - t->from : 0;
    const SimFault fault = t != NULL && inside + row > t->bytes ? SIM_OUT_OF_BOUNDS
                           : t != NULL && !t->live              ? SIM_RELEASED
                           : op != NULL                         ? SIM_UNDECLARED
                                                                : SIM_FAULTS;
    if (fault == SIM_FAULTS) continue;
    check_name_place(m, address, place, sizeof place);
    sim_report(fault, NULL, (SimLine){0}, "%s: %s %s %lld bytes of %s%s%s", who, what, verb,
               (long long)row, place,
               fault == SIM_UNDECLARED ? ", which is not declared by op " : "",
               fault == SIM_UNDECLARED ? op->name : "");
    return true;
  }
  return true;
}

bool sim_check_written(const char *who, const char *what, const void *from, int64_t rows,
                       int64_t row, int64_t stride) {
  char place[200];
  for (int64_t i = 0; i < rows; i++) {
    const uint8_t *at = (const uint8_t *)from + i * stride;
    const SimMemory *m = sim_memory_find(at);
    if (m == NULL || m->written == NULL || at + row > m->data + m->bytes) continue;
    const uint8_t *hole = memchr(m->written + (at - m->data), 0, (size_t)row);
    if (hole == NULL) continue;
    check_name_place(m, (uint64_t)(uintptr_t)(m->data + (hole - m->written)), place, sizeof place);
    sim_report(SIM_UNINITIALISED, NULL, (SimLine){0},
               "%s: %s reads %s, which nothing was written to", who, what, place);
    return false;
  }
  return true;
}
