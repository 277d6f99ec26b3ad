#include "generate.h"

#include "generator.h"

#include <stdlib.h>

const char *finish_name(Finish finish) {
  static const char *const names[] = {"eos", "stop", "length", "context"};
  return names[finish];
}

int generate_seqs(const GenerateOptions *o) {
  return o->beam.beams > 1 ? o->beam.beams : 1;
}

int64_t generate_limit(int64_t n_prompt, const GenerateOptions *o) {
  int64_t left = o->context - n_prompt;
  return o->max_new_tokens < left ? o->max_new_tokens : left;
}

int64_t generate_cache_len(int64_t n_prompt, const GenerateOptions *o) {
  int64_t len = n_prompt + generate_limit(n_prompt, o) - 1; // the last one drawn is not read
  return len > 1 ? len : 1;
}

// The prompt's full pages are shared by all beams; a decoder needs one of its own for each.
int64_t generate_cache_pages(int64_t n_prompt, const GenerateOptions *o) {
  int64_t all = kv_cache_pages(generate_cache_len(n_prompt, o)), seqs = generate_seqs(o);
  if (seqs == 1) return all;
  int64_t shared = n_prompt / KV_PAGE, own = all > shared ? all - shared : 1;
  return shared + seqs * own;
}

Status generate_check(int64_t n_prompt, const GenerateOptions *o, Error *err) {
  if (generate_limit(n_prompt, o) > 0) return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "the prompt has %lld tokens; the model's context of %lld leaves no room for an "
                   "answer",
                   (long long)n_prompt, (long long)o->context);
}

void generation_free(Generation *g) {
  free(g->ids);
  free(g->text);
  *g = (Generation){0};
}

Status generate(Generation *out, Decoder *decoder, const Tokenizer *tokenizer,
                const int32_t *prompt, int64_t n_prompt, const GenerateOptions *options,
                TextSink sink, Error *err) {
  *out = (Generation){.n_prompt = n_prompt};
  Status status = generate_check(n_prompt, options, err);
  if (status != STATUS_OK) return status;
  int64_t limit = generate_limit(n_prompt, options);
  Generator generator;
  GeneratorSize size = {.slots = 1,
                        .beams = options->beam.beams,
                        .max_tokens = n_prompt + limit,
                        .max_new = limit,
                        .n_stop_ids = options->n_stop_ids};
  GenerateRequest request = {
      .prompt = prompt, .n_prompt = n_prompt, .options = options, .sink = sink};
  generator_init(&generator, decoder, tokenizer, size);
  status = generator_add(&generator, &request, out, err);
  while (status == STATUS_OK && !out->done) status = generator_step(&generator, err);
  generator_free(&generator);
  return status;
}
