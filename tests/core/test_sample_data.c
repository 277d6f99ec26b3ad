// labels: quick
// The sample data in the tree: its form, and that its items are varied (data/samples/README.md says
// what is counted). The measures are first tried on texts with a known answer, and every check is
// seen to find a planted fault.
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "test.h"

#define DATA "data/samples/biomed_qa.json"
enum { MIN_ITEMS = 260, MAX_PATTERN = 5, MAX_WORDS = 256, MAX_TEXT = 2048 };
static const double MAX_ROUGE = 0.7;

// Words that keep their place in a pattern; all others are "_".
static const char *const function_words[] = {
    "a",     "about",   "after", "against", "an",    "and",     "are",     "as",      "at",
    "be",    "because", "been",  "before",  "being", "between", "but",     "by",      "can",
    "could", "did",     "do",    "does",    "down",  "during",  "each",    "for",     "from",
    "had",   "has",     "have",  "he",      "her",   "his",     "how",     "if",      "in",
    "into",  "is",      "it",    "its",     "may",   "me",      "might",   "must",    "no",
    "nor",   "not",     "of",    "on",      "one",   "or",      "out",     "over",    "per",
    "she",   "should",  "so",    "than",    "that",  "the",     "their",   "them",    "then",
    "there", "these",   "they",  "this",    "those", "three",   "through", "to",      "two",
    "under", "up",      "was",   "we",      "were",  "what",    "when",    "where",   "which",
    "while", "who",     "whose", "why",     "will",  "with",    "within",  "without", "would",
    "you",   "your"};

typedef struct Words {
  int n;
  const char *at[MAX_WORDS]; // into text
  char text[MAX_TEXT];       // case-folded, each word NUL-terminated
} Words;

// Runs of ASCII letters and digits, lower-cased; `size` bytes of s are read. The sample data is
// ASCII, which is checked.
static void words_split(Words *w, const char *s, size_t size) {
  if (size >= MAX_TEXT) size = MAX_TEXT - 1;
  w->n = 0;
  bool inside = false;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)s[i];
    w->text[i] = isalnum(c) ? (char)tolower(c) : '\0';
    if (isalnum(c) && !inside && w->n < MAX_WORDS) w->at[w->n++] = w->text + i;
    inside = isalnum(c);
  }
  w->text[size] = '\0';
}

// F1 of the longest common subsequence of words: 2 L / (m + n).      Lin 2004, ROUGE-L, beta = 1
static double rouge_l(const Words *a, const Words *b) {
  int row[MAX_WORDS + 1] = {0};
  for (int i = 0; i < a->n; i++) {
    int diagonal = 0;
    for (int j = 0; j < b->n; j++) {
      int above = row[j + 1];
      if (strcmp(a->at[i], b->at[j]) == 0)
        row[j + 1] = diagonal + 1;
      else if (row[j] > above)
        row[j + 1] = row[j];
      diagonal = above;
    }
  }
  return a->n + b->n == 0 ? 0.0 : 2.0 * row[b->n] / (a->n + b->n);
}

static bool is_function_word(const char *word) {
  for (size_t i = 0; i < sizeof function_words / sizeof *function_words; i++)
    if (strcmp(word, function_words[i]) == 0) return true;
  return false;
}

// The pattern of a sentence: its words, those beyond the first `keep` that are no function words
// replaced by "_", and a run of "_" by one.
static void pattern_of(char *out, size_t capacity, const Words *w, int keep) {
  size_t used = 0;
  bool gap = false;
  out[0] = '\0';
  for (int i = 0; i < w->n && used + 2 < capacity; i++) {
    bool kept = i < keep || is_function_word(w->at[i]);
    if (!kept && gap) continue;
    gap = !kept;
    used += (size_t)snprintf(out + used, capacity - used, "%s ", kept ? w->at[i] : "_");
    if (used >= capacity) used = capacity - 1;
  }
}

static void pattern_of_start(char *out, size_t capacity, const Words *w, int n) {
  size_t used = 0;
  out[0] = '\0';
  for (int i = 0; i < w->n && i < n && used + 2 < capacity; i++)
    used += (size_t)snprintf(out + used, capacity - used, "%s ", w->at[i]);
}

// A bag of patterns, to be counted.
typedef struct Bag {
  int n;
  int capacity;
  char **pattern;
} Bag;

static void bag_add(Bag *bag, const char *pattern) {
  if (bag->n == bag->capacity) {
    bag->capacity = bag->capacity * 2 + 64;
    bag->pattern = realloc(bag->pattern, (size_t)bag->capacity * sizeof *bag->pattern);
  }
  bag->pattern[bag->n++] = strdup(pattern);
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// Counts the patterns that occur more than MAX_PATTERN times, and frees the bag.
static int bag_faults(Bag *bag, const char *what, bool show) {
  int faults = 0;
  if (bag->n > 0) qsort(bag->pattern, (size_t)bag->n, sizeof *bag->pattern, compare_strings);
  for (int i = 0, j; i < bag->n; i = j) {
    for (j = i + 1; j < bag->n && strcmp(bag->pattern[i], bag->pattern[j]) == 0;) j++;
    if (j - i <= MAX_PATTERN) continue;
    faults++;
    if (show) printf("%s: %d times \"%s\"\n", what, j - i, bag->pattern[i]);
  }
  for (int i = 0; i < bag->n; i++) free(bag->pattern[i]);
  free(bag->pattern);
  return faults;
}

static const char *field(const json_t *item, const char *key) {
  const char *text = json_string_value(json_object_get(item, key));
  return text != NULL ? text : "";
}

static bool is_clean(const char *text) {
  size_t n = strlen(text);
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~') return false;
  return n == 0 || (text[0] != ' ' && text[n - 1] != ' ' && strstr(text, "  ") == NULL);
}

// Where the sentence that begins at s ends: after ". ", "? ", "! " or at the end of the text.
static const char *sentence_end(const char *s) {
  for (; *s != '\0'; s++)
    if (strchr(".?!", *s) != NULL && (s[1] == ' ' || s[1] == '\0')) return s + 1;
  return s;
}

static int form_faults(const json_t *items, bool show) {
  int faults = json_array_size(items) < MIN_ITEMS;
  Words words;
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) {
    const char *instruction = field(item, "instruction"), *output = field(item, "output");
    int sentences = 0;
    for (const char *s = output; *s != '\0'; s = sentence_end(s)) sentences++;
    words_split(&words, output, strlen(output));
    bool ok = json_object_size(item) == 3 && json_is_string(json_object_get(item, "input")) &&
              instruction[0] != '\0' && is_clean(instruction) && is_clean(output) &&
              is_clean(field(item, "input")) && strlen(output) < MAX_TEXT && words.n >= 20 &&
              words.n <= 90 && sentences >= 1 && sentences <= 4 &&
              strchr(".?", instruction[strlen(instruction) - 1]) != NULL &&
              output[strlen(output) - 1] == '.';
    if (ok) continue;
    faults++;
    if (show) printf("item %zu, %d words, %d sentences: %s\n", i, words.n, sentences, output);
  }
  return faults;
}

static int pattern_faults(const json_t *items, bool show) {
  Bag starts = {0}, answers = {0}, questions = {0}, sentences = {0};
  Words words;
  char pattern[2 * MAX_TEXT];
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) {
    const char *instruction = field(item, "instruction"), *output = field(item, "output");
    words_split(&words, instruction, strlen(instruction));
    pattern_of_start(pattern, sizeof pattern, &words, 3);
    bag_add(&starts, pattern);
    pattern_of(pattern, sizeof pattern, &words, 1);
    bag_add(&questions, pattern);
    words_split(&words, output, strlen(output));
    pattern_of_start(pattern, sizeof pattern, &words, 3);
    bag_add(&answers, pattern);
    for (const char *s = output, *end; *s != '\0'; s = end) {
      end = sentence_end(s);
      words_split(&words, s, (size_t)(end - s));
      pattern_of(pattern, sizeof pattern, &words, 0);
      bag_add(&sentences, pattern);
    }
  }
  return bag_faults(&starts, "start of an instruction", show) +
         bag_faults(&answers, "start of an output", show) +
         bag_faults(&questions, "instruction", show) +
         bag_faults(&sentences, "sentence of an output", show);
}

static int likeness_faults(const json_t *items, const char *key, bool show) {
  size_t n = json_array_size(items);
  int faults = 0;
  double highest = 0.0;
  Words *words = calloc(n, sizeof *words);
  for (size_t i = 0; i < n; i++) {
    const char *text = field(json_array_get(items, i), key);
    words_split(&words[i], text, strlen(text));
    for (size_t j = 0; j < i; j++) {
      double rouge = rouge_l(&words[i], &words[j]);
      if (rouge > highest) highest = rouge;
      if (rouge <= MAX_ROUGE) continue;
      faults++;
      if (show) printf("ROUGE-L %.3f: %zu, %zu: %s\n", rouge, j, i, text);
    }
  }
  if (show) printf("highest ROUGE-L between two of %zu %ss: %.3f\n", n, key, highest);
  free(words);
  return faults;
}

static int all_faults(const json_t *items, bool show) {
  return form_faults(items, show) + pattern_faults(items, show) +
         likeness_faults(items, "instruction", show) + likeness_faults(items, "output", show);
}

static double rouge_of(const char *a, const char *b) {
  Words x, y;
  words_split(&x, a, strlen(a));
  words_split(&y, b, strlen(b));
  return rouge_l(&x, &y);
}

static void measures_have_known_values(void) {
  EXPECT(rouge_of("The cat sat.", "the CAT ran") == 2.0 * 2 / 6);
  EXPECT(rouge_of("police killed the gunman", "the gunman police killed") == 0.5);
  EXPECT(rouge_of("a b c d e", "e d c b a") == 0.2);
  EXPECT(rouge_of("one", "two") == 0.0);
  EXPECT(rouge_of("", "") == 0.0);
  Words w;
  char pattern[256];
  const char *text = "How does the left ventricle respond to Stretch?";
  words_split(&w, text, strlen(text));
  pattern_of(pattern, sizeof pattern, &w, 1);
  EXPECT(strcmp(pattern, "how does the _ to _ ") == 0, "%s", pattern);
  text = "Name the bones of the hand";
  words_split(&w, text, strlen(text));
  pattern_of(pattern, sizeof pattern, &w, 1);
  EXPECT(strcmp(pattern, "name the _ of the _ ") == 0, "%s", pattern);
  pattern_of_start(pattern, sizeof pattern, &w, 3);
  EXPECT(strcmp(pattern, "name the bones ") == 0, "%s", pattern);
}

static json_t *load(void) {
  json_error_t error;
  json_t *items = json_load_file(DATA, JSON_REJECT_DUPLICATES, &error);
  EXPECT(items != NULL, "%s:%d: %s", DATA, error.line, error.text);
  EXPECT(json_is_array(items));
  if (!json_is_array(items)) exit(test_done());
  return items;
}

static void sample_data_is_sound(void) {
  json_t *items = load();
  int with_input = 0;
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) with_input += field(item, "input")[0] != '\0';
  printf("%zu items, %d with input\n", json_array_size(items), with_input);
  EXPECT(all_faults(items, true) == 0);
  json_decref(items);
}

// Sets fields of the first `n` items (NULL: left as it is; "%d" in the text: the item's number).
static int faults_after(int (*check)(const json_t *, bool), int n, const char *key,
                        const char *format) {
  static const char *const nouns[] = {"heart", "liver", "lung",  "knee",
                                      "brain", "skin",  "spine", "spleen"};
  json_t *items = load();
  for (int i = 0; i < n; i++) {
    char text[512];
    snprintf(text, sizeof text, format, nouns[i]);
    json_object_set_new(json_array_get(items, (size_t)i), key, json_string(text));
  }
  int faults = check(items, false);
  json_decref(items);
  return faults;
}

static int instruction_likeness(const json_t *items, bool show) {
  return likeness_faults(items, "instruction", show);
}

static int output_likeness(const json_t *items, bool show) {
  return likeness_faults(items, "output", show);
}

static void planted_faults_are_found(void) {
  const char *long_answer =
      "The %s is fine, and here are many words that make this sentence as long as any answer has "
      "to be, which means twenty words or more.";
  EXPECT(faults_after(form_faults, 1, "output", "The %s is too short.") == 1);
  EXPECT(faults_after(form_faults, 1, "output", long_answer) == 0);
  EXPECT(faults_after(form_faults, 3, "instruction", "") == 3);
  EXPECT(faults_after(form_faults, 1, "instruction", "Two  spaces %s.") == 1);
  EXPECT(faults_after(form_faults, 1, "input", "A tab\there %s") == 1);
  EXPECT(faults_after(form_faults, 1, "extra", "A fourth field %s") == 1);
  EXPECT(faults_after(pattern_faults, 5, "instruction", "Kindly show one %s.") == 0);
  EXPECT(faults_after(pattern_faults, 6, "instruction", "Kindly show one %s.") == 2); // (a) and (c)
  EXPECT(faults_after(pattern_faults, 6, "instruction", "Kindly %s against without.") == 1);
  EXPECT(faults_after(pattern_faults, 6, "output", "This is a %s here.") == 2); // (b) and (d)
  EXPECT(faults_after(pattern_faults, 6, "output", "%s without those against the blood.") == 1);
  EXPECT(faults_after(instruction_likeness, 2, "instruction", "Kindly show me one %s.") == 1);
  EXPECT(faults_after(output_likeness, 3, "output", long_answer) == 3);
  json_t *items = load();
  while (json_array_size(items) >= MIN_ITEMS) json_array_remove(items, 0);
  EXPECT(form_faults(items, false) == 1);
  json_decref(items);
}

static void readme_says_what_it_is(void) {
  static char text[8192];
  FILE *file = fopen("data/samples/README.md", "r");
  EXPECT(file != NULL);
  if (file == NULL) return;
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  EXPECT(strstr(text, "CC0") != NULL);
  EXPECT(strstr(text, "No medical advice") != NULL);
}

int main(void) {
  RUN(measures_have_known_values);
  RUN(planted_faults_are_found);
  RUN(sample_data_is_sound);
  RUN(readme_says_what_it_is);
  return test_done();
}
