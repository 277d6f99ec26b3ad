#include "prompt.h"

#include "template_encode.h"

Status prompt_template(const PromptRequest *r, const Engine *e, TemplateKind *kind, Error *err) {
  *kind = r->template_given ? r->template_kind : TEMPLATE_NONE;
  if (r->prompt != NULL && *kind == TEMPLATE_NONE) return STATUS_OK;
  bool adapter_says = e->adapter_template != TEMPLATE_COUNT;
  if (r->template_given) {
    if (!adapter_says || e->adapter_template == *kind) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "--template %s contradicts the adapter, which was trained with %s: leave "
                     "--template out",
                     template_kind_name(*kind), template_kind_name(e->adapter_template));
  }
  bool chat = tokenizer_find(e->tokenizer, "<|im_start|>") >= 0;
  *kind = adapter_says ? e->adapter_template : chat ? TEMPLATE_CHATML : TEMPLATE_ALPACA;
  return STATUS_OK;
}

Status prompt_encode(const PromptRequest *r, const Engine *e, TemplateKind kind, TokenIds *ids,
                     Error *err) {
  const Tokenizer *t = e->tokenizer;
  if (r->prompt != NULL && kind == TEMPLATE_NONE) {
    if (tokenizer_adds_bos(t)) token_ids_push(ids, tokenizer_bos(t));
    tokenizer_encode(t, r->prompt, r->prompt_bytes, SPECIAL_AS_TEXT, ids);
  } else {
    template_encode(t, kind, r->prompt != NULL ? r->prompt : r->instruction, r->input, NULL, ids);
  }
  if (ids->n == 0) {
    return error_set(
        err, STATUS_USAGE,
        "--prompt: expected a text, found an empty one: there is nothing to go on with");
  }
  return engine_check_ids(e, ids->ids, ids->n, err);
}
