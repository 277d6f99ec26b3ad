#include "prompt.h"

#include "template_encode.h"

#include <string.h>

// What the request's adapter was trained with; NULL: there is none, or it does not say.
static const Template *trained_with(const PromptRequest *r, const Engine *e) {
  return r->adapter >= 0 ? e->adapters[r->adapter].template : NULL;
}

static bool same_template(const Template *a, const Template *b) {
  return strcmp(template_identity(a), template_identity(b)) == 0;
}

static const char *name_of(const Template *t) {
  return t->source != NULL ? "a template of its own" : t->name;
}

static Status check_given(const PromptRequest *r, const Engine *e, Error *err) {
  const char *option = r->template->source != NULL ? "--template-file" : "--template";
  const Template *trained = trained_with(r, e);
  if (trained != NULL && !same_template(trained, r->template)) {
    return error_set(err, STATUS_USAGE,
                     "%s %s contradicts the adapter, which was trained with %s: leave %s out",
                     option, r->template->name, name_of(trained), option);
  }
  Status status = template_check(e->tokenizer, r->template, err);
  if (status != STATUS_OK) error_prefix(err, "%s %s", option, r->template->name);
  return status;
}

Status prompt_template(const PromptRequest *r, const Engine *e, const Template **template,
                       Error *err) {
  const Template *none = template_builtin(TEMPLATE_NONE),
                 *chatml = template_builtin(TEMPLATE_CHATML);
  *template = r->template != NULL ? r->template : none;
  if (r->prompt != NULL && *template == none) return STATUS_OK;
  if (r->template != NULL) return check_given(r, e, err);
  *template = trained_with(r, e);
  if (*template == NULL)
    *template = template_suits(e->tokenizer, chatml) ? chatml : template_builtin(TEMPLATE_ALPACA);
  Status status = template_check(e->tokenizer, *template, err);
  if (status != STATUS_OK && r->adapter >= 0) {
    error_prefix(err, "%s was trained with %s", e->adapters[r->adapter].folder, name_of(*template));
  }
  return status;
}

Status prompt_encode(const PromptRequest *r, const Engine *e, const Template *template,
                     TokenIds *ids, Error *err) {
  const Tokenizer *t = e->tokenizer;
  bool as_it_is = r->prompt != NULL && template == template_builtin(TEMPLATE_NONE);
  int64_t before = ids->n;
  const char *nul = r->prompt != NULL ? memchr(r->prompt, '\0', (size_t)r->prompt_bytes) : NULL;
  if (nul != NULL && !as_it_is) { // it would end the text there
    return error_set(err, STATUS_DATA,
                     "the prompt: expected a text for the template, found a NUL byte at byte %lld",
                     (long long)(nul - r->prompt));
  }
  if (as_it_is) {
    if (tokenizer_adds_bos(t)) token_ids_push(ids, tokenizer_bos(t));
    tokenizer_encode(t, r->prompt, r->prompt_bytes, SPECIAL_AS_TEXT, ids);
  } else {
    Turn turn = {.role = ROLE_USER,
                 .text = r->prompt != NULL ? r->prompt : r->instruction,
                 .input = r->input};
    template_encode(t, template, &turn, 1, MARK_NOTHING, ids);
  }
  if (ids->n == before) {
    return error_set(err, STATUS_USAGE, "the prompt is empty: there is nothing to go on with");
  }
  return engine_check_ids(e, ids->ids + before, ids->n - before, err);
}
