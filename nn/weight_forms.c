#include "weight_forms.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static WeightForm *form_of(WeightForms *forms, const StoreTensor *t, DType dtype) {
  for (int i = 0; i < forms->n; i++) {
    if (strcmp(forms->items[i].from, t->dtype_name) == 0) return &forms->items[i];
  }
  CHECK(forms->n < WEIGHT_FORMS_MAX, "more than %d types of weights", WEIGHT_FORMS_MAX);
  bool expanded = t->dtype < DT_COUNT && dtype_info(t->dtype)->block_elements > 1;
  WeightForm *form = &forms->items[forms->n++];
  *form = (WeightForm){.to = dtype, .expanded = expanded};
  snprintf(form->from, sizeof form->from, "%s", t->dtype_name);
  return form;
}

WeightForms weight_forms(const TensorStore *store, const LlamaConfig *config, DType dtype) {
  WeightForms forms = {.n = 0};
  for (int64_t i = 0; i < store_count(store); i++) {
    const StoreTensor *t = store_at(store, i);
    if (t->dtype == dtype) continue;
    if (config->tied && strcmp(t->name, "lm_head.weight") == 0) continue; // passed over
    WeightForm *form = form_of(&forms, t, dtype);
    form->n++;
    form->file_bytes += t->bytes;
    form->bytes += dtype_bytes(dtype, t->rows * t->cols);
  }
  return forms;
}

void weight_form_text(char text[WEIGHT_FORM_BYTES], const WeightForm *form) {
  snprintf(text, WEIGHT_FORM_BYTES, "%s to %s at load: %lld weights, %.1f MiB in the file",
           form->expanded ? "expanded" : "converted", dtype_info(form->to)->name,
           (long long)form->n, (double)form->file_bytes / (1 << 20));
}
