// labels: quick
// Run configs: defaults, reading, overrides, every message with its place, printing that reads back
// to the same config, what counts as another run, and texts that are hostile or random.
#include "config.h"
#include "mapped_file.h"
#include "rng.h"
#include "test.h"

#include <glob.h>

#define REQUIRED "model: {path: m}\ndata: {path: d}\noutput: {dir: o}\n"

static Status read_text(RunConfig *config, const char *text, Error *err) {
  config_defaults(config);
  return config_read_text(config, "f.yaml", text, (int64_t)strlen(text), err);
}

static void test_defaults(void) {
  RunConfig c;
  config_defaults(&c);
  EXPECT(c.model.path[0] == '\0' && c.model.dtype == DT_BF16);
  EXPECT(c.data.format == DATA_FORMAT_AUTO && c.data.template_kind == TEMPLATE_ALPACA);
  EXPECT(c.data.cutoff_len == 512 && !c.data.train_on_inputs && c.data.shuffle);
  EXPECT(c.data.val_set_size.count == 0 && c.data.val_set_size.fraction == 0.05);
  EXPECT(c.method == METHOD_LORA && c.lora.r == 8 && c.lora.alpha == 16 && c.lora.dropout == 0.05);
  EXPECT(c.lora.targets.n == 2 && strcmp(c.lora.targets.words[1], "v_proj") == 0);
  EXPECT(c.train.lr == 3e-4 && c.train.beta2 == 0.999 && c.train.eps == 1e-8 && c.train.seed == 42);
  EXPECT(c.train.checkpointing == CHECKPOINTING_OFF && c.output.keep == 2);
}

static void test_every_key_is_read(void) {
  static const char text[] =
      "# a comment\n"
      "model:\n  path: \"a \\u00e9\\\"b\"\n  preset: llama-7b\n  hash: abc\n  dtype: f32\n"
      "data: {path: ['it''s', b], weights: [2, 0.5], sha256: def, format: alpaca,\n"
      "       template: chatml, template_file: t.json, template_sha256: ghi,\n"
      "       cutoff_len: 77, over_length: drop, train_on_inputs: true, val_set_size: 200,\n"
      "       shuffle: false, group_by_length: true, cache_dir: \"off\"}\n"
      "method: full\n"
      "lora:\n  r: 4\n  alpha: 8.5\n  dropout: 0\n  rank_stabilised: true\n"
      "  plus_ratio: 16\n  targets:\n    - o_proj\n    - \"mlp.up_proj\"\n"
      "  rank_pattern: [down_proj=16]\n  alpha_pattern: [q_proj=1.5, \"*.0.*=2\"]\n"
      "  init_from: there\n"
      "train:\n  epochs: 5\n  max_steps: 6\n  batch_size: 7\n  micro_tokens: 8\n  lr: 1e-4\n"
      "  schedule: cosine\n  warmup_steps: 9\n  warmup_ratio: .5\n  weight_decay: 1e-2\n"
      "  beta1: 0.8\n  beta2: 0.95\n  eps: 1.e-6\n  clip: 0\n  seed: 9223372036854775807\n"
      "  eval_steps: 10\n  early_stop: 13\n  on_nonfinite: skip\n  freeze: [model.norm.weight]\n"
      "  grad_dtype: bf16\n  checkpointing: on\n  checkpoint_blocks: 14\n  threads: 3\n  device: "
      "cuda:1\n"
      "  gemm: onednn-f32\n  isa: avx2\n"
      "output:\n  dir: out\n  save_steps: 11\n  keep: 12\n  best: false\n  report: false\n"
      "  samples: 4\n"
      "dist: {ranks: 5, shard: gradients}\n"
      "plan: {device: h100, mean_len: 15, examples: 16}\n"
      "resume: auto\n";
  RunConfig c;
  Error err = {0};
  EXPECT(read_text(&c, text, &err) == STATUS_OK, "%s", err.message);
  EXPECT(strcmp(c.model.path, "a \xC3\xA9\"b") == 0 && c.model.dtype == DT_F32);
  EXPECT(strcmp(c.data.path, "it's,b") == 0 && c.data.format == DATA_FORMAT_ALPACA);
  EXPECT(c.data.template_kind == TEMPLATE_CHATML && c.data.cutoff_len == 77);
  EXPECT(c.data.train_on_inputs && !c.data.shuffle);
  EXPECT(c.data.val_set_size.count == 200 && c.data.val_set_size.fraction == 0);
  EXPECT(c.method == METHOD_FULL && c.lora.r == 4 && c.lora.alpha == 8.5 && c.lora.dropout == 0);
  EXPECT(c.lora.rank_stabilised && strcmp(c.lora.init_from, "there") == 0);
  EXPECT(c.lora.targets.n == 2 && strcmp(c.lora.targets.words[0], "o_proj") == 0);
  EXPECT(strcmp(c.lora.targets.words[1], "mlp.up_proj") == 0);
  EXPECT(c.train.epochs == 5 && c.train.max_steps == 6 && c.train.batch_size == 7);
  EXPECT(c.train.micro_tokens == 8 && c.train.lr == 1e-4 && c.train.schedule == SCHEDULE_COSINE);
  EXPECT(c.train.warmup_steps == 9 && c.train.warmup_ratio == 0.5 && c.train.weight_decay == 1e-2);
  EXPECT(c.train.beta1 == 0.8 && c.train.beta2 == 0.95 && c.train.eps == 1e-6);
  EXPECT(c.train.clip == 0 && c.train.seed == INT64_MAX && c.train.eval_steps == 10);
  EXPECT(c.train.checkpointing == CHECKPOINTING_ON && c.train.threads == 3);
  EXPECT(strcmp(c.train.device, "cuda:1") == 0);
  EXPECT(c.train.gemm == GEMM_CHOICE_ONEDNN_F32 && c.train.isa == ISA_CHOICE_AVX2);
  EXPECT(strcmp(c.model.hash, "abc") == 0 && strcmp(c.data.sha256, "def") == 0);
  EXPECT(strcmp(c.data.template_sha256, "ghi") == 0);
  EXPECT(strcmp(c.output.dir, "out") == 0 && c.output.save_steps == 11 && c.output.keep == 12);
  EXPECT(strcmp(c.resume, "auto") == 0);
  EXPECT(strcmp(c.model.preset, "llama-7b") == 0 && strcmp(c.data.cache_dir, "off") == 0);
  EXPECT(strcmp(c.data.template_file, "t.json") == 0 && c.data.over_length == OVER_LENGTH_DROP);
  EXPECT(c.data.group_by_length && c.lora.plus_ratio == 16 && c.lora.rank_pattern.n == 1);
  EXPECT(c.lora.alpha_pattern.n == 2 && strcmp(c.lora.alpha_pattern.words[1], "*.0.*=2") == 0);
  EXPECT(c.train.early_stop == 13 && c.train.on_nonfinite == ON_NONFINITE_SKIP);
  EXPECT(c.train.freeze.n == 1 && c.train.grad_dtype == DT_BF16 && c.train.checkpoint_blocks == 14);
  EXPECT(!c.output.best && !c.output.report && c.output.samples == 4 && c.dist.ranks == 5);
  EXPECT(c.dist.shard == SHARD_GRADIENTS && strcmp(c.plan.device, "h100") == 0);
  EXPECT(c.data.weights.n == 2 && c.data.weights.values[0] == 2 && c.data.weights.values[1] == 0.5);
  EXPECT(c.plan.mean_len == 15 && c.plan.examples == 16);

  char *dump = config_dump(&c, false);
  RunConfig again;
  EXPECT(read_text(&again, dump, &err) == STATUS_OK, "%s", err.message);
  EXPECT(memcmp(&c, &again, sizeof c) == 0, "%s", dump);
  // No key is at its default above, so that a key that reading or printing forgets would show.
  config_defaults(&again);
  char *defaults = config_dump(&again, false);
  for (const char *a = dump, *b = defaults; *a != '\0'; a = strchr(a, '\n') + 1) {
    size_t n = strcspn(a, "\n");
    bool section = a[n - 1] == ':';
    EXPECT((n == strcspn(b, "\n") && strncmp(a, b, n) == 0) == section, "%.*s", (int)n, a);
    b = strchr(b, '\n') + 1;
  }
  free(dump);
  free(defaults);
}

static void test_empty_texts(void) {
  static const char *const texts[] = {"",
                                      "\n# nothing\n",
                                      "---\n",
                                      "--- \n...\n",
                                      "\xEF\xBB\xBF",
                                      "train:\n",
                                      "train:\n  # lr: 1\nlora:\n",
                                      "train: {}\n",
                                      "{}"};
  RunConfig c, defaults;
  config_defaults(&defaults);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    Error err = {0};
    EXPECT(read_text(&c, texts[i], &err) == STATUS_OK, "%zu: %s", i, err.message);
    EXPECT(memcmp(&c, &defaults, sizeof c) == 0, "%zu", i);
  }
}

typedef struct Bad {
  const char *text, *message;
} Bad;

static const Bad bad_texts[] = {
    // keys
    {"trian:\n  lr: 1\n", "f.yaml:1:1: there is no key 'trian'; did you mean 'train'?"},
    {"train:\n  epoch: 1\n",
     "f.yaml:2:3: there is no key 'train.epoch'; did you mean 'train.epochs'?"},
    {"train:\n  dropout: 0\n",
     "f.yaml:2:3: there is no key 'train.dropout'; did you mean 'lora.dropout'?"},
    {"lr: 1\n", "f.yaml:1:1: there is no key 'lr'; did you mean 'train.lr'?"},
    {"train.lr: 1\n", "f.yaml:1:1: 'train.lr' is written as a section here: 'train:' and 'lr:'"},
    {"train:\n  zzzzzzzzzzzzz: 0\n",
     "f.yaml:2:3: there is no key 'train.zzzzzzzzzzzzz'; vma-train --print-config"},
    {"train:\n  lr: 1\n  clip: 1\n  lr: 1\n",
     "f.yaml:4:3: the key 'train.lr' stands twice, first in line 2"},
    {"method: lora\nmethod: lora\n", "f.yaml:2:1: the key 'method' stands twice, first in line 1"},
    {"train:\n  lr: 1\nlora:\ntrain:\n  clip: 1\n",
     "f.yaml:4:1: the section 'train' stands twice, first in line 1"},
    {"? [a]\n: b\n", "f.yaml:1:3: expected a key, found a list"},
    {"train:\n  {a: b}: c\n", "f.yaml:2:3: expected a key, found a mapping"},
    {"\"method\\0x\": lora\n", "f.yaml:1:1: expected a text, found a NUL"},
    // kinds of values
    {"train: 3\n",
     "f.yaml:1:8: 'train' is a section: expected keys and values indented below it, found '3'"},
    {"train: [lr]\n",
     "f.yaml:1:8: 'train' is a section: expected keys and values indented below it, found a list"},
    {"train: \"\"\n", "f.yaml:1:8: 'train' is a section"},
    {"method: {a: b}\n", "f.yaml:1:9: method: expected lora or full, found a mapping"},
    {"train:\n  lr: [1]\n", "f.yaml:2:7: train.lr: expected a number from 0 to 10, found a list"},
    {"train:\n  lr:\n", "f.yaml:2:6: train.lr: expected a number from 0 to 10, found nothing"},
    {"train:\n  lr: ~\n", "f.yaml:2:7: train.lr: expected a number from 0 to 10, found nothing"},
    {"resume:\n", "f.yaml:1:8: resume: expected a text of at most 4095 bytes, found nothing (an "
                  "empty text is \"\")"},
    {"train:\n  lr: \"1\"\n",
     "f.yaml:2:7: train.lr: expected a number from 0 to 10, found a text in quotes"},
    {"data:\n  shuffle: 'true'\n",
     "f.yaml:2:12: data.shuffle: expected true or false, found a text in quotes"},
    {"[a, b]\n", "f.yaml:1:1: expected keys and values"},
    {"text\n", "f.yaml:1:1: expected keys and values"},
    // values
    {"train:\n  lr: fast\n", "f.yaml:2:7: train.lr: expected a number from 0 to 10, found 'fast'"},
    {"train:\n  lr: 11\n", "f.yaml:2:7: train.lr: expected a number from 0 to 10, found '11'"},
    {"train:\n  lr: -1e-9\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: .nan\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: nan\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: 1e999\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: 0x1p-3\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: 1e\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: .\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  lr: 1 2\n", "f.yaml:2:7: train.lr:"},
    {"train:\n  eps: 0\n",
     "f.yaml:2:8: train.eps: expected a number above 0 and at most 1, found '0'"},
    {"train:\n  beta1: 1\n",
     "f.yaml:2:10: train.beta1: expected a number from 0 to below 1, found '1'"},
    {"lora:\n  r: 0\n", "f.yaml:2:6: lora.r: expected an integer from 1 to 1024, found '0'"},
    {"lora:\n  r: 1025\n", "f.yaml:2:6: lora.r: expected an integer from 1 to 1024, found '1025'"},
    {"lora:\n  r: 8.0\n", "f.yaml:2:6: lora.r: expected an integer from 1 to 1024, found '8.0'"},
    {"lora:\n  r: 010\n", "f.yaml:2:6: lora.r:"},
    {"lora:\n  r: 99999999999999999999\n", "f.yaml:2:6: lora.r:"},
    {"train:\n  seed: -1\n",
     "f.yaml:2:9: train.seed: expected an integer from 0 to 2^63 - 1, found '-1'"},
    {"train:\n  seed: 9223372036854775808\n", "f.yaml:2:9: train.seed:"},
    {"data:\n  shuffle: yes\n", "f.yaml:2:12: data.shuffle: expected true or false, found 'yes'"},
    {"data:\n  template: chat\n", "f.yaml:2:13: data.template: expected alpaca, alpaca_stanford, "
                                  "alpaca_short, chatml, none, llama2 or llama3, found 'chat'"},
    {"train:\n  checkpointing: true\n",
     "f.yaml:2:18: train.checkpointing: expected off, on or auto, found 'true'"},
    {"data:\n  val_set_size: 1.0\n",
     "f.yaml:2:17: data.val_set_size: expected a number of examples"},
    {"data:\n  val_set_size: -1\n", "f.yaml:2:17: data.val_set_size:"},
    {"lora:\n  targets: []\n",
     "f.yaml:2:12: lora.targets: expected 1 to 16 different names of at most 127"},
    {"lora:\n  targets: [q_proj, [a]]\n",
     "f.yaml:2:21: lora.targets: expected 1 to 16 different names"},
    {"lora:\n  targets:\n    - q_proj\n    - q_proj\n", "f.yaml:4:7: lora.targets:"},
    {"lora:\n  targets: ['a,b']\n", "f.yaml:2:13: lora.targets:"},
    {"lora:\n  targets: [a b]\n", "f.yaml:2:13: lora.targets:"},
    {"lora:\n  targets: q_proj,,v_proj\n", "f.yaml:2:12: lora.targets:"},
    {"lora:\n  targets: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]\n",
     "f.yaml:2:61: lora.targets:"},
    {"data: {path: [a, 'b,c']}\n", "f.yaml:1:18: data.path: expected one or more paths without "},
    {"data: {path: []}\n", "f.yaml:1:14: data.path: expected one or more paths"},
    {"data: {path: [a, '']}\n", "f.yaml:1:18: data.path: expected one or more paths"},
    {"data: {path: 'a,,b'}\n", "f.yaml:1:14: data.path: expected one or more paths"},
    {"data: {path: ',a'}\n", "f.yaml:1:14: data.path: expected one or more paths"},
    {"data: {weights: [1, 0]}\n", "f.yaml:1:21: data.weights: expected at most 16 numbers, each "
                                  "above 0 and at most 1000, found "},
    {"data: {weights: [1, x]}\n", "f.yaml:1:21: data.weights: expected at most 16 numbers"},
    {"data: {weights: '1,,2'}\n", "f.yaml:1:17: data.weights: expected at most 16 numbers"},
    {"data: {weights: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}\n",
     "f.yaml:1:50: data.weights: expected at most 16 numbers"},
    // YAML that is refused, or none
    {"method: &a lora\n", "f.yaml:1:9: anchors"},
    {"train: &a\n  lr: 1\n", "f.yaml:1:8: anchors"},
    {"method: *a\n", "f.yaml:1:9: aliases"},
    {"method: !!str lora\n", "f.yaml:1:9: tags"},
    {"lora:\n  targets: !x [a]\n", "f.yaml:2:12: tags"},
    {"method: lora\n---\nmethod: lora\n",
     "f.yaml:2:1: expected the end of the config, found a second document"},
    {"method: lora\n\tresume: a\n", "f.yaml:2:1: not YAML: found a tab character"},
    {"lora:\n  targets: [lora\n", "f.yaml:3:1: not YAML: did not find expected ',' or ']'"},
    {"method: 'lora\n", "f.yaml:2:1: not YAML: found unexpected end of stream"},
    {"train:\n    lr: 1\n  clip: 1\n", "f.yaml:3:3: not YAML: did not find expected key"},
    {"method: \xC3(\n", "f.yaml: byte 9: expected UTF-8 text"},
    {"method: \x01\n",
     "f.yaml: byte 8: expected UTF-8 text, found: control characters are not allowed"},
};

static void test_messages(void) {
  for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++) {
    RunConfig c, before;
    Error err = {0};
    config_defaults(&before);
    Status status = read_text(&c, bad_texts[i].text, &err);
    EXPECT(status == STATUS_USAGE && err.status == status, "%zu: %d", i, status);
    EXPECT(strncmp(err.message, bad_texts[i].message, strlen(bad_texts[i].message)) == 0,
           "\n  want %s\n  have %s", bad_texts[i].message, err.message);
    EXPECT(strchr(err.message, '\n') == NULL, "%s", err.message);
    EXPECT(memcmp(&c, &before, sizeof c) == 0, "changed by a failure: %s", bad_texts[i].text);
  }
}

static void test_overrides(void) {
  static const Bad bads[] = {
      {"train.lr", "command line: 'train.lr': expected key=value"},
      {"=1", "command line: '=1': expected key=value"},
      {"trian.lr=1",
       "command line: 'trian.lr=1': there is no key 'trian.lr'; did you mean 'train.lr'?"},
      {"seed=1", "command line: 'seed=1': there is no key 'seed'; did you mean 'train.seed'?"},
      {"train.lr=", "command line: 'train.lr=': train.lr: expected a number from 0 to 10, "
                    "found nothing"},
      {"train.lr=1x",
       "command line: 'train.lr=1x': train.lr: expected a number from 0 to 10, found '1x'"},
      {"train=1", "command line: 'train=1': there is no key 'train'"},
      {"lora.targets=a,,b", "command line: 'lora.targets=a,,b': lora.targets: expected 1 to 16"},
      {"model.path=\xFF", "command line: 'model.path=\\xff': model.path: expected a text"},
  };
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    RunConfig c, before;
    Error err = {0};
    config_defaults(&c);
    before = c;
    EXPECT(config_override(&c, bads[i].text, &err) == STATUS_USAGE);
    EXPECT(strncmp(err.message, bads[i].message, strlen(bads[i].message)) == 0,
           "\n  want %s\n  have %s", bads[i].message, err.message);
    EXPECT(memcmp(&c, &before, sizeof c) == 0, "changed by a failure: %s", bads[i].text);
  }
  static const char *const good[] = {
      "model.path=a=b",    "data.path=d",   "output.dir=o", "train.lr=1e-5",
      "lora.targets=a, b", "train.lr=2e-5", "resume=auto",  "resume="};
  RunConfig c;
  Error err = {0};
  EXPECT(config_load(&c, NULL, good, 8, &err) == STATUS_OK, "%s", err.message);
  EXPECT(strcmp(c.model.path, "a=b") == 0 && c.train.lr == 2e-5 && c.resume[0] == '\0');
  EXPECT(c.lora.targets.n == 2 && strcmp(c.lora.targets.words[1], "b") == 0);
  char text[CONFIG_TEXT_BYTES + 20] = "resume=";
  memset(text + 7, 'x', CONFIG_TEXT_BYTES - 1);
  EXPECT(config_override(&c, text, &err) == STATUS_OK && strlen(c.resume) == CONFIG_TEXT_BYTES - 1);
  text[7 + CONFIG_TEXT_BYTES - 1] = 'x';
  EXPECT(config_override(&c, text, &err) == STATUS_USAGE);
}

static void test_load(void) {
  RunConfig c;
  Error err = {0};
  char path[512];
  snprintf(path, sizeof path, "%s/config.yaml", test_tmp_dir());
  EXPECT(config_load(&c, path, NULL, 0, &err) == STATUS_NO_INPUT);
  EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
  EXPECT(file_write(path, "train:\n  lr: x\n", 15, &err) == STATUS_OK);
  EXPECT(config_load(&c, path, NULL, 0, &err) == STATUS_USAGE);
  EXPECT(strstr(err.message, "config.yaml:2:7: train.lr: ") != NULL, "%s", err.message);
  static const char *const required[] = {"model.path", "data.path", "output.dir"};
  for (int i = 0; i < 3; i++) { // each alone is missing
    const char *words[2];
    char buffer[2][64];
    for (int j = 0; j < 2; j++) {
      snprintf(buffer[j], sizeof *buffer, "%s=x", required[(i + 1 + j) % 3]);
      words[j] = buffer[j];
    }
    EXPECT(config_load(&c, NULL, words, 2, &err) == STATUS_USAGE);
    EXPECT(strncmp(err.message, "the key '", 9) == 0 && strstr(err.message, required[i]) != NULL,
           "%s", err.message);
  }
  const char *word = "train.lr=1e-5"; // after the file
  EXPECT(file_write(path, REQUIRED "train: {lr: 1}\n", strlen(REQUIRED) + 15, &err) == STATUS_OK);
  EXPECT(config_load(&c, path, &word, 1, &err) == STATUS_OK, "%s", err.message);
  EXPECT(c.train.lr == 1e-5 && strcmp(c.output.dir, "o") == 0);
  char *big = malloc(CONFIG_FILE_BYTES_MAX + 1);
  memset(big, '\n', CONFIG_FILE_BYTES_MAX + 1);
  EXPECT(file_write(path, big, CONFIG_FILE_BYTES_MAX + 1, &err) == STATUS_OK);
  EXPECT(config_load(&c, path, NULL, 0, &err) == STATUS_USAGE && err.status == STATUS_USAGE);
  EXPECT(config_read_text(&c, "f", big, CONFIG_FILE_BYTES_MAX + 1, &err) == STATUS_USAGE);
  EXPECT(config_read_text(&c, "f", big, CONFIG_FILE_BYTES_MAX, &err) == STATUS_OK);
  free(big);
}

// Drawn values for every key that has a wide range, with texts that YAML could misread.
static void draw_config(RunConfig *c, Rng *rng) {
  static const char *const texts[] = {"",
                                      " ",
                                      "~",
                                      "null",
                                      "true",
                                      "# x",
                                      "a: b",
                                      "'\"\\",
                                      "\t\n\r",
                                      "\xC2\x85",
                                      "\xE2\x80\xA8",
                                      "*a",
                                      "- x",
                                      "\x7F",
                                      "é\xF0\x9F\x98\x80",
                                      "\xEF\xBB\xBF",
                                      "\xEF\xBF\xBE",
                                      " x ",
                                      "!t",
                                      "%a"};
  enum { N = sizeof texts / sizeof *texts };
  config_defaults(c);
  char *const out[] = {c->model.path, c->data.path, c->lora.init_from, c->output.dir, c->resume};
  for (int i = 0; i < 5; i++) {
    char *end = out[i];
    for (int j = 0; j < 3; j++) end = stpcpy(end, texts[rng_below(rng, N)]);
  }
  double *const reals[] = {&c->train.lr, &c->train.beta1, &c->train.warmup_ratio, &c->train.eps};
  for (int i = 0; i < 4; i++) {
    *reals[i] = rng_uniform(rng) * (rng_below(rng, 2) ? 1 : 1e-9) + 1e-300;
  }
  c->train.seed = (int64_t)(rng_u64(rng) >> 1);
  c->data.template_kind = (TemplateKind)rng_below(rng, TEMPLATE_COUNT);
  c->train.schedule = (ScheduleKind)rng_below(rng, 3);
  c->train.checkpointing = (Checkpointing)rng_below(rng, 2);
  c->data.shuffle = rng_below(rng, 2);
  c->data.val_set_size = rng_below(rng, 2) ? (ConfigShare){.count = (int64_t)rng_below(rng, 99)}
                                           : (ConfigShare){.fraction = *reals[0] / 2};
}

static void test_round_trip(void) {
  Rng rng = {.key = 1};
  for (int i = 0; i < 300; i++) {
    RunConfig c, again;
    Error err = {0};
    draw_config(&c, &rng);
    for (int explain = 0; explain < 2; explain++) {
      char *text = config_dump(&c, explain);
      EXPECT(read_text(&again, text, &err) == STATUS_OK, "%s\n%s", err.message, text);
      EXPECT(memcmp(&c, &again, sizeof c) == 0, "%s", text);
      free(text);
    }
  }
}

static void test_explained(void) {
  RunConfig c;
  config_defaults(&c);
  char *plain = config_dump(&c, false), *text = config_dump(&c, true);
  EXPECT(strstr(text, "    ") == NULL);
  int keys = 0, comments = 0, longest = 0;
  bool commented = false;
  for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
    int n = (int)strcspn(line, "\n");
    if (n > longest) longest = n;
    bool comment = line[strspn(line, " ")] == '#';
    bool key = !comment && n > 0 && line[n - 1] != ':';
    comments += comment;
    keys += key;
    EXPECT(!key || commented, "no meaning: %.*s", n, line);
    commented = comment;
  }
  int plain_keys = 0;
  for (const char *line = plain; *line != '\0'; line = strchr(line, '\n') + 1) {
    plain_keys += line[strcspn(line, "\n") - 1] != ':';
  }
  EXPECT(keys == plain_keys && keys > 50 && comments >= 2 * keys, "%d %d", keys, comments);
  EXPECT(longest <= 100, "%d", longest);
  EXPECT(strstr(text, "  # Rank of the adapters.\n  # [an integer from 1 to 1024; default 8]\n"
                      "  r: 8\n") != NULL);
  EXPECT(strstr(text, "required]\n  path: \"\"\n") != NULL);
  free(plain);
  free(text);
}

static void test_difference(void) {
  static const char *const deciding[] = {
      "model.dtype=f32",      "data.template=chatml", "data.cutoff_len=3", "data.val_set_size=3",
      "data.shuffle=false",   "method=full",          "lora.r=3",          "lora.targets=q_proj",
      "train.lr=3",           "train.seed=3",         "train.epochs=4",    "train.micro_tokens=3",
      "train.schedule=cosine"};
  static const char *const others[] = {
      "model.path=x",       "data.path=x",     "output.dir=x",
      "output.keep=3",      "resume=x",        "output.save_steps=3",
      "train.eval_steps=3", "train.threads=3", "train.checkpointing=on",
      "train.gemm=own"};
  RunConfig a, b;
  ConfigDifference texts;
  config_defaults(&a);
  for (size_t i = 0; i < sizeof deciding / sizeof *deciding; i++) {
    b = a;
    Error err = {0};
    EXPECT(config_override(&b, deciding[i], &err) == STATUS_OK, "%s", err.message);
    const char *key = config_difference(&a, &b, &texts);
    EXPECT(key != NULL && strncmp(key, deciding[i], strlen(key)) == 0, "%s", deciding[i]);
    if (key == NULL || strcmp(key, "lora.targets") == 0) continue;
    EXPECT(strcmp(texts.now, strchr(deciding[i], '=') + 1) == 0, "%s %s", deciding[i], texts.now);
    EXPECT(strcmp(texts.before, texts.now) != 0);
  }
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    b = a;
    Error err = {0};
    EXPECT(config_override(&b, others[i], &err) == STATUS_OK, "%s", err.message);
    EXPECT(memcmp(&a, &b, sizeof a) != 0 && config_difference(&a, &b, &texts) == NULL, "%s",
           others[i]);
  }
}

// Nesting of every kind ends at once, with a place.
static void test_deep_nesting(void) {
  static const char *const pieces[] = {"[", "{", "- ", "? ", "{a: ", "[\n", "{\n", "a: [", "[[],"};
  enum { DEPTH = 50000 };
  char *text = malloc(DEPTH * 5 + 64);
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    for (int start = 0; start < 3; start++) {
      char *end = text;
      end = stpcpy(end, start == 0 ? "" : start == 1 ? "train: " : "lora:\n  targets: ");
      for (int n = 0; n < DEPTH; n++) end = stpcpy(end, pieces[i]);
      RunConfig c;
      Error err = {0};
      EXPECT(read_text(&c, text, &err) == STATUS_USAGE, "%s", pieces[i]);
      EXPECT(strncmp(err.message, "f.yaml:", 7) == 0, "%s", err.message);
    }
  }
  memset(text, '[', 100000);
  text[100000] = '\0';
  RunConfig c;
  Error err = {0};
  EXPECT(read_text(&c, text, &err) == STATUS_USAGE && err.status == STATUS_USAGE);
  EXPECT(strncmp(err.message, "f.yaml:1:1: ", 12) == 0, "%s", err.message);
  free(text);
}

static void test_noise(void) {
  static const char marks[] = "[]{}:-?,&*!|>'\"%@`# \nab~";
  Rng rng = {.key = 2};
  RunConfig c, good;
  Error err = {0};
  config_defaults(&good);
  char *dump = config_dump(&good, true);
  int64_t size = (int64_t)strlen(dump), accepted = 0;
  char *text = malloc((size_t)size);
  for (int i = 0; i < 1000; i++) { // one to three bits of a good config
    memcpy(text, dump, (size_t)size);
    for (uint64_t flips = 1 + rng_below(&rng, 3); flips > 0; flips--) {
      text[rng_below(&rng, (uint64_t)size)] ^= (char)(1 << rng_below(&rng, 8));
    }
    config_defaults(&c);
    Status status = config_read_text(&c, "f", text, size, &err);
    EXPECT(status == STATUS_OK || (status == STATUS_USAGE && strncmp(err.message, "f:", 2) == 0),
           "%d: %s", status, err.message);
    accepted += status == STATUS_OK;
  }
  EXPECT(accepted > 100 && accepted < 900, "%d", (int)accepted); // comments are a good part
  for (int i = 0; i < 1000; i++) {                               // cut, or random bytes
    int64_t n = (int64_t)rng_below(&rng, 400);
    for (int64_t j = 0; j < n; j++) {
      text[j] = i % 2 ? (char)rng_u64(&rng) : marks[rng_below(&rng, sizeof marks - 1)];
    }
    Status status = config_read_text(&c, "f", text, n, &err);
    EXPECT(status == STATUS_OK || status == STATUS_USAGE, "%d: %s", status, err.message);
  }
  for (int64_t n = 0; n < size; n += 7) {
    Status status = config_read_text(&c, "f", dump, n, &err);
    EXPECT(status == STATUS_OK || status == STATUS_USAGE, "%d: %s", status, err.message);
  }
  free(dump);
  free(text);
}

static void test_template_names(void) {
  for (int i = 0; i < TEMPLATE_COUNT; i++) {
    EXPECT(template_kind_from_name(template_kind_name((TemplateKind)i)) == (TemplateKind)i);
  }
  EXPECT(strcmp(template_kind_name(TEMPLATE_ALPACA_STANFORD), "alpaca_stanford") == 0);
  EXPECT(template_kind_from_name("Alpaca") == TEMPLATE_COUNT);
  EXPECT(template_kind_from_name("") == TEMPLATE_COUNT);
}

// The recipes in the tree: each reads, and says to every value what it is for.
static void test_recipes(void) {
  glob_t found;
  EXPECT(glob("configs/*.yaml", 0, NULL, &found) == 0 && found.gl_pathc > 0);
  for (size_t i = 0; i < found.gl_pathc; i++) {
    RunConfig c;
    Error err = {0};
    const char *path = found.gl_pathv[i];
    EXPECT(config_load(&c, path, NULL, 0, &err) == STATUS_OK, "%s", err.message);
    EXPECT(c.model.preset[0] != '\0' || file_exists(c.data.path), "%s: %s", path, c.data.path);
    char *text;
    int64_t size;
    EXPECT(file_read_all(&text, &size, path, CONFIG_FILE_BYTES_MAX, &err) == STATUS_OK);
    bool commented = false;
    for (char *line = text; *line != '\0';) {
      char *end = strchr(line, '\n');
      *end = '\0';
      bool comment = strchr(line, '#') != NULL, section = *line != '\0' && end[-1] == ':';
      EXPECT(comment || commented || *line == '\0' || section || strncmp(line, "method", 6) == 0,
             "%s: no comment: %s", path, line);
      commented = line[strspn(line, " ")] == '#';
      line = end + 1;
    }
    free(text);
  }
  globfree(&found);
}

int main(void) {
  RUN(test_defaults);
  RUN(test_every_key_is_read);
  RUN(test_empty_texts);
  RUN(test_messages);
  RUN(test_overrides);
  RUN(test_load);
  RUN(test_round_trip);
  RUN(test_explained);
  RUN(test_difference);
  RUN(test_deep_nesting);
  RUN(test_noise);
  RUN(test_template_names);
  RUN(test_recipes);
  return test_done();
}
