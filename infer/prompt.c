#include "prompt.h"

#include "template_encode.h"

#include <string.h>

// What the request's adapter was trained with; TEMPLATE_COUNT: there is none, or it does not say.
static TemplateKind trained_with(const PromptRequest *r, const Engine *e) {
  return r->adapter >= 0 ? e->adapters[r->adapter].template_kind : TEMPLATE_COUNT;
}

static Status check_given(const PromptRequest *r, const Engine *e, Error *err) {
  const char *name = template_kind_name(r->template_kind);
  TemplateKind trained = trained_with(r, e);
  if (trained != TEMPLATE_COUNT && trained != r->template_kind) {
    return error_set(err, STATUS_USAGE,
                     "--template %s contradicts the adapter, which was trained with %s: leave "
                     "--template out",
                     name, template_kind_name(trained));
  }
  Status status = template_check(e->tokenizer, template_builtin(r->template_kind), err);
  if (status != STATUS_OK) error_prefix(err, "--template %s", name);
  return status;
}

Status prompt_template(const PromptRequest *r, const Engine *e, TemplateKind *kind, Error *err) {
  *kind = r->template_given ? r->template_kind : TEMPLATE_NONE;
  if (r->prompt != NULL && *kind == TEMPLATE_NONE) return STATUS_OK;
  if (r->template_given) return check_given(r, e, err);
  *kind = trained_with(r, e);
  if (*kind == TEMPLATE_COUNT) {
    *kind = template_suits(e->tokenizer, template_builtin(TEMPLATE_CHATML)) ? TEMPLATE_CHATML
                                                                            : TEMPLATE_ALPACA;
  }
  Status status = template_check(e->tokenizer, template_builtin(*kind), err);
  if (status != STATUS_OK && r->adapter >= 0) {
    error_prefix(err, "%s was trained with %s", e->adapters[r->adapter].folder,
                 template_kind_name(*kind));
  }
  return status;
}

Status prompt_encode(const PromptRequest *r, const Engine *e, TemplateKind kind, TokenIds *ids,
                     Error *err) {
  const Tokenizer *t = e->tokenizer;
  int64_t before = ids->n;
  const char *nul = r->prompt != NULL ? memchr(r->prompt, '\0', (size_t)r->prompt_bytes) : NULL;
  if (nul != NULL && kind != TEMPLATE_NONE) { // it would end the text there
    return error_set(err, STATUS_DATA,
                     "the prompt: expected a text for the template, found a NUL byte at byte %lld",
                     (long long)(nul - r->prompt));
  }
  if (r->prompt != NULL && kind == TEMPLATE_NONE) {
    if (tokenizer_adds_bos(t)) token_ids_push(ids, tokenizer_bos(t));
    tokenizer_encode(t, r->prompt, r->prompt_bytes, SPECIAL_AS_TEXT, ids);
  } else {
    Turn turn = {.role = ROLE_USER,
                 .text = r->prompt != NULL ? r->prompt : r->instruction,
                 .input = r->input};
    template_encode(t, template_builtin(kind), &turn, 1, MARK_NOTHING, ids);
  }
  if (ids->n == before) {
    return error_set(err, STATUS_USAGE, "the prompt is empty: there is nothing to go on with");
  }
  return engine_check_ids(e, ids->ids + before, ids->n - before, err);
}
