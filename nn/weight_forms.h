// What becomes of the weights of a file at load: a type that the resident form is not is converted,
// and a block-quantised one expanded, since layers keep their weights in the activations' dtype.
// Plans of memory show it: an expanded weight takes several times its bytes in the file.
#ifndef VMA_WEIGHT_FORMS_H
#define VMA_WEIGHT_FORMS_H

#include "llama_config.h"
#include "tensor_store.h"

enum { WEIGHT_FORMS_MAX = 16, WEIGHT_FORM_BYTES = 120, WEIGHT_TYPE_BYTES = 16 };

// The weights of one type of the file.
typedef struct WeightForm {
  char from[WEIGHT_TYPE_BYTES]; // "Q4_1"
  DType to;
  bool expanded;             // from blocks; else converted
  int64_t n;                 // weights
  int64_t file_bytes, bytes; // in the file, and resident
} WeightForm;

typedef struct WeightForms {
  WeightForm items[WEIGHT_FORMS_MAX];
  int n;
} WeightForms;

// Of the store's weights that the config's model has, those of which `dtype` is not the type, in
// the order of their names. Reads headers only.
WeightForms weight_forms(const TensorStore *store, const LlamaConfig *config, DType dtype);

// "expanded to bf16 at load: 211 weights, 77.1 MiB in the file"
void weight_form_text(char text[WEIGHT_FORM_BYTES], const WeightForm *form);

#endif
