// Beam search over log probabilities of the host, token for token that of transformers 5
// (GenerationMixin._beam_search): several texts go on side by side, and those that end compete by
//   score = (sum of log probabilities) / (tokens drawn ^ length_penalty).
//
// Each step takes the K = max(2, 1 + stop ids) * beams likeliest continuations of all running
// texts. Those among them that end leave; the best `beams` of the others run on. Only what ends
// among the first `beams` of the K enters the list of finished texts, of which there are `beams` at
// most. All sums are f32, as there; the lowest beam and id win ties.
#ifndef VMA_BEAM_SEARCH_H
#define VMA_BEAM_SEARCH_H

#include "token_choice.h"

#include <stdbool.h>

typedef enum EarlyStopping {
  EARLY_FALSE, // ends when the best running text, at its length now, is behind all that is finished
  EARLY_TRUE,  // ends when `beams` texts are finished
  EARLY_NEVER, // as false, at the length that favours it (of a length penalty above 0)
  EARLY_COUNT
} EarlyStopping;

typedef struct BeamOptions {
  int beams;
  float length_penalty; // 0: the sum itself; above 0 long texts gain, below 0 short ones
  EarlyStopping early_stopping;
} BeamOptions;

// "false", "true", "never".
const char *early_stopping_name(EarlyStopping kind);

typedef struct BeamText {
  int32_t *ids; // [capacity]
  int64_t n;
  float score; // of a running text the sum
  bool finished;
} BeamText;

typedef struct BeamSearch {
  BeamOptions options;
  int64_t capacity, vocab;              // tokens that a text can grow to
  int64_t limit, drawn;                 // tokens at most; so far, of the running texts
  int keep, n_candidates;               // K of this search; memory for so many
  BeamText *running, *finished, *spare; // [beams], [beams], [beams]
  int32_t *parents;                     // [beams] of the last step: beam i went on from running
                                        // text parents[i]
  float *sums;                          // [beams] of the running texts
  TokenBranch *candidates;              // [n_candidates]
  bool *ended;                          // [n_candidates] whether the text ends with it
} BeamSearch;

// Whether a text ends with its last id; `length` is seen to by the search itself.
typedef struct BeamEnd {
  bool (*ends)(void *user, const int32_t *ids, int64_t n);
  void *user;
} BeamEnd;

// Memory for searches of so many beams, with at most n_stop_ids and texts of at most `capacity`
// tokens.
void beam_search_init(BeamSearch *search, int beams, int64_t vocab, int64_t capacity,
                      int n_stop_ids);
void beam_search_free(BeamSearch *search);

// A new search, of as many beams.
void beam_search_start(BeamSearch *search, const BeamOptions *options, int64_t limit,
                       int n_stop_ids);

// One more token: log_probs[i] [V] are those of running text i's next token; in the first step all
// of them are the same row. Returns false when the search is over; else `parents` and the running
// texts are those to go on with.
bool beam_search_step(BeamSearch *search, const float *const *log_probs, BeamEnd end);

// The best text of a search that is over.
const BeamText *beam_search_best(const BeamSearch *search);

#endif
