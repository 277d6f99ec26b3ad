// The CPU backend's shadow (backend.h): the fast ops that take scratch, which ask for it and
// return. What goes to the reference is not noted: it takes memory as it goes.
#include "cpu_backend.h"

#include <stdlib.h>
#include <string.h>

static void cpu_forget(Backend *shadow) {
  memset(cpu_of(shadow)->scratch_bytes, 0, sizeof cpu_of(shadow)->scratch_bytes);
  shadow->counts.scratch = 0;
}

Status cpu_shadow_open(CpuBackend *cpu, Error *err) {
  CpuBackend *shadow = calloc(1, sizeof *shadow);
  if (shadow == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CPU backend");
  const Backend *fast = &cpu->be;
  shadow->own = cpu->own;
  shadow->noting = true;
  shadow->threads = cpu->threads;
  // Where scratch would lie: an access faults, and it is not nothing.
  for (int i = 0; i < SCRATCH_COUNT; i++) shadow->scratch[i] = (void *)((uintptr_t)1 << 57);
  shadow->library = cpu->library;
  shadow->library_bf16 = cpu->library_bf16;
  shadow->be.name = "cpu-shadow";
  shadow->be.forget = cpu_forget;
  shadow->be.rope_split = fast->rope_split;
  shadow->be.rope_split_back_acc = fast->rope_split_back_acc;
  shadow->be.attention = fast->attention;
  shadow->be.attention_back_acc = fast->attention_back_acc;
  shadow->be.embedding_back_acc = fast->embedding_back_acc;
  shadow->be.rmsnorm_back_acc = fast->rmsnorm_back_acc;
  shadow->be.layernorm_back_acc = fast->layernorm_back_acc;
  shadow->be.linear = fast->linear;
  shadow->be.linear_back_x_acc = fast->linear_back_x_acc;
  shadow->be.linear_back_w_acc = fast->linear_back_w_acc;
  shadow->be.lora_down = fast->lora_down;
  shadow->be.lora_up_acc = fast->lora_up_acc;
  shadow->be.lora_back_acc = fast->lora_back_acc;
  shadow->be.sum_acc = fast->sum_acc;
  shadow->be.sum_squares = fast->sum_squares;
  cpu->be.shadow = &shadow->be;
  return STATUS_OK;
}

// What it points to is the backend's.
void cpu_shadow_close(CpuBackend *cpu) {
  free(cpu->be.shadow);
}
