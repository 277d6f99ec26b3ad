// vma-infer: goes on with a text, answers an instruction, or scores given texts.
#include "check.h"
#include "infer_options.h"
#include "mapped_file.h"
#include "standard_streams.h"
#include "stopwatch.h"
#include "thread_wait.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PREFILL_CHUNK = 512, PROMPT_BYTES_MAX = 64 << 20 };

// ---- output ----

static Status put_stdout(void *user, const char *text, int64_t bytes, Error *err) {
  (void)user;
  errno = 0;
  if (fwrite(text, 1, (size_t)bytes, stdout) == (size_t)bytes && fflush(stdout) == 0)
    return STATUS_OK;
  return error_set(err, STATUS_IO, "standard output: writing failed: %s", strerror(errno));
}

static double per_second(double n, double seconds) {
  return seconds > 0 ? n / seconds : 0;
}

static Status print_json(const Generation *g, double load_seconds, Error *err) {
  json_t *ids = json_array();
  for (int64_t i = 0; i < g->n; i++) json_array_append_new(ids, json_integer(g->ids[i]));
  json_t *root =
      json_pack("{s:s%, s:o, s:s, s:I, s:{s:f, s:f, s:f, s:f, s:f}}", "text", g->text,
                (size_t)g->bytes, "ids", ids, "finish", finish_name(g->finish), "prompt_tokens",
                (json_int_t)g->n_prompt, "timings", "load_seconds", load_seconds, "prefill_seconds",
                g->prefill_seconds, "decode_seconds", g->decode_seconds,
                "prefill_tokens_per_second", per_second((double)g->n_prompt, g->prefill_seconds),
                "decode_tokens_per_second", per_second((double)(g->n - 1), g->decode_seconds));
  CHECK(root != NULL, "the answer is no JSON: is its text UTF-8?");
  char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
  CHECK(text != NULL, "no memory for the answer");
  Status status = put_stdout(NULL, text, (int64_t)strlen(text), err);
  if (status == STATUS_OK) status = put_stdout(NULL, "\n", 1, err);
  free(text);
  json_decref(root);
  return status;
}

// The newline after a streamed answer and, for someone who watches, what it took.
static Status finish_stream(const Generation *g, Error *err) {
  Status status = STATUS_OK;
  if (g->bytes == 0 || g->text[g->bytes - 1] != '\n') status = put_stdout(NULL, "\n", 1, err);
  if (status == STATUS_OK && isatty(STDERR_FILENO)) {
    fprintf(stderr, "[%lld tokens, %.1f tokens/s, %s]\n", (long long)g->n,
            per_second((double)(g->n - 1), g->decode_seconds), finish_name(g->finish));
  }
  return status;
}

// ---- the two jobs ----

static Status run_generation(const InferOptions *o, Engine *e, double start, Error *err) {
  Status status = STATUS_OK;
  TokenIds prompt = {0};
  Generation answer = {0};
  Decoder decoder = {0};
  char *from_stdin = NULL;
  TemplateKind kind;
  int32_t stop_ids[ENGINE_STOPS_MAX];
  TRY(engine_need_tokenizer(e, err));
  PromptRequest request = o->request;
  if (request.prompt != NULL && strcmp(request.prompt, "-") == 0) {
    TRY(file_read_all(&from_stdin, &request.prompt_bytes, "/dev/stdin", PROMPT_BYTES_MAX, err));
    request.prompt = from_stdin;
  }
  request.adapter = engine_adapter(e, NULL);
  TRY(prompt_template(&request, e, &kind, err));
  TRY(prompt_encode(&request, e, kind, &prompt, err));
  GenerateOptions options = {.sampler = o->sampler,
                             .max_new_tokens = o->max_new_tokens,
                             .context = e->model.config.max_positions,
                             .stop_ids = stop_ids,
                             .n_stop_ids = engine_stop_ids(e, kind, stop_ids),
                             .stops = o->stops,
                             .n_stops = o->n_stops};
  TRY(generate_check(prompt.n, &options, err));
  DecoderSize size = {.max_len = generate_cache_len(prompt.n, &options)};
  size.chunk = prompt.n < PREFILL_CHUNK ? prompt.n : PREFILL_CHUNK;
  TRY(engine_load(e, decoder_rehearse, &size, err));
  decoder_init(&decoder, &e->ctx, &e->model, &e->memory.cache, size);
  double load_seconds = seconds_now() - start;
  TextSink sink = {.put = o->json ? NULL : put_stdout};
  TRY(generate(&answer, &decoder, e->tokenizer, prompt.ids, prompt.n, &options, sink, err));
  TRY(o->json ? print_json(&answer, load_seconds, err) : finish_stream(&answer, err));
done:
  if (decoder.model != NULL) decoder_free(&decoder);
  generation_free(&answer);
  token_ids_free(&prompt);
  free(from_stdin);
  return status;
}

static Status run_scoring(const InferOptions *o, Engine *e, Error *err) {
  ScoreStats stats;
  Status status = score_file(e, &o->score, &stats, err);
  if (status == STATUS_OK && isatty(STDERR_FILENO)) {
    fprintf(stderr, "[%lld lines, %lld tokens, %.0f tokens/s]\n", (long long)stats.lines,
            (long long)stats.tokens, per_second((double)stats.tokens, stats.seconds));
  }
  return status;
}

static void print_warning(const char *message) {
  fprintf(stderr, "vma-infer: warning: %s\n", message);
}

int main(int argc, char **argv) {
  Status status = STATUS_OK;
  Error err = {0};
  InferOptions options;
  Engine engine = {0};
  standard_streams_hold();
  thread_wait_asleep(argv);
  double start = seconds_now();
  TRY(infer_options_parse(&options, argc, argv, &err));
  options.engine.warn = print_warning;
  TRY(engine_open(&engine, &options.engine, &err));
  TRY(options.score.input != NULL ? run_scoring(&options, &engine, &err)
                                  : run_generation(&options, &engine, start, &err));
done:
  if (status != STATUS_OK) fprintf(stderr, "vma-infer: %s\n", err.message);
  engine_close(&engine);
  return (int)status;
}
