// SentencePiece's tokenizer.model: a protobuf (sentencepiece_model.proto) read field by field.
#include "check.h"
#include "quote.h"
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct Proto {
  const char *path;
  const uint8_t *data; // the whole file
  int64_t pos, end;    // what is left of this message
} Proto;

// A field: a number for varint and fixed32 (its bits), bytes for a string or message.
typedef struct ProtoField {
  int64_t number;
  int wire; // WIRE_*
  uint64_t value;
  int64_t at, size; // bytes in the file
} ProtoField;

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static Status fault(const Proto *proto, int64_t pos, Error *err, const char *text) {
  return error_set(err, STATUS_DATA, "%s: byte %lld: %s: this is no SentencePiece model",
                   proto->path, (long long)pos, text);
}

static Status read_varint(Proto *proto, uint64_t *value, Error *err) {
  int64_t begin = proto->pos;
  *value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (proto->pos == proto->end) return fault(proto, begin, err, "a number is cut off");
    uint8_t byte = proto->data[proto->pos++];
    if (shift < 64) *value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) return STATUS_OK;
  }
  return fault(proto, begin, err, "a number of more than ten bytes");
}

static Status read_field(Proto *proto, ProtoField *field, Error *err) {
  Status status = STATUS_OK;
  int64_t begin = proto->pos;
  uint64_t tag, size = 0;
  TRY(read_varint(proto, &tag, err));
  *field = (ProtoField){.number = (int64_t)(tag >> 3), .wire = (int)(tag & 7)};
  if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) {
    TRY(fault(proto, begin, err, "a field number is out of range"));
  }
  switch (field->wire) {
  case WIRE_VARINT:
    TRY(read_varint(proto, &field->value, err));
    return STATUS_OK;
  case WIRE_FIXED64:
    size = 8;
    break;
  case WIRE_FIXED32:
    size = 4;
    break;
  case WIRE_BYTES:
    TRY(read_varint(proto, &size, err));
    break;
  default:
    TRY(fault(proto, begin, err, "a field of unknown type"));
  }
  if (size > (uint64_t)(proto->end - proto->pos)) {
    TRY(fault(proto, begin, err, "a field is longer than what holds it"));
  }
  field->at = proto->pos;
  field->size = (int64_t)size;
  proto->pos += (int64_t)size;
  if (field->wire == WIRE_FIXED32) {
    uint32_t bits;
    memcpy(&bits, proto->data + field->at, 4);
    field->value = bits;
  }
done:
  return status;
}

// A known field must have the type that the schema gives it.
static Status expect_wire(const Proto *proto, const ProtoField *field, int wire, Error *err) {
  if (field->wire == wire) return STATUS_OK;
  return fault(proto, proto->pos, err, "a field has another type than in the schema");
}

static Proto inside(const Proto *proto, const ProtoField *field) {
  return (Proto){proto->path, proto->data, field->at, field->at + field->size};
}

// What is used of trainer_spec and normalizer_spec, with the schema's default values.
typedef struct ModelSpec {
  int model_type; // 1 unigram, 2 BPE, 3 word, 4 character
  bool byte_fallback, suffix;
  bool dummy_prefix, remove_spaces, escape_spaces;
  int64_t charsmap; // bytes of precompiled maps
  char *unk_surface, *bos, *eos;
} ModelSpec;

static Status read_text(char **text, const Proto *proto, const ProtoField *field, Error *err) {
  Status status = expect_wire(proto, field, WIRE_BYTES, err);
  if (status != STATUS_OK) return status;
  if (memchr(proto->data + field->at, 0, (size_t)field->size) != NULL) {
    return fault(proto, field->at, err, "a NUL inside of a name");
  }
  free(*text);
  *text = strndup((const char *)proto->data + field->at, (size_t)field->size);
  CHECK(*text != NULL, "no memory for a name of %lld bytes", (long long)field->size);
  return STATUS_OK;
}

static Status read_flag(bool *flag, const Proto *proto, const ProtoField *field, Error *err) {
  Status status = expect_wire(proto, field, WIRE_VARINT, err);
  if (status == STATUS_OK) *flag = field->value != 0;
  return status;
}

static Status read_trainer(ModelSpec *spec, Proto proto, Error *err) {
  Status status = STATUS_OK;
  ProtoField field;
  while (proto.pos < proto.end) {
    TRY(read_field(&proto, &field, err));
    switch (field.number) {
    case 3:
      TRY(expect_wire(&proto, &field, WIRE_VARINT, err));
      spec->model_type = field.value > 4 ? 0 : (int)field.value;
      break;
    case 24:
      TRY(read_flag(&spec->suffix, &proto, &field, err));
      break;
    case 35:
      TRY(read_flag(&spec->byte_fallback, &proto, &field, err));
      break;
    case 44:
      TRY(read_text(&spec->unk_surface, &proto, &field, err));
      break;
    case 46:
      TRY(read_text(&spec->bos, &proto, &field, err));
      break;
    case 47:
      TRY(read_text(&spec->eos, &proto, &field, err));
      break;
    default:
      break;
    }
  }
done:
  return status;
}

static Status read_normalizer(ModelSpec *spec, Proto proto, Error *err) {
  Status status = STATUS_OK;
  ProtoField field;
  while (proto.pos < proto.end) {
    TRY(read_field(&proto, &field, err));
    switch (field.number) {
    case 2:
      TRY(expect_wire(&proto, &field, WIRE_BYTES, err));
      spec->charsmap += field.size;
      break;
    case 3:
      TRY(read_flag(&spec->dummy_prefix, &proto, &field, err));
      break;
    case 4:
      TRY(read_flag(&spec->remove_spaces, &proto, &field, err));
      break;
    case 5:
      TRY(read_flag(&spec->escape_spaces, &proto, &field, err));
      break;
    default:
      break;
    }
  }
done:
  return status;
}

// The maps of a denormalizer_spec would change decoded text.
static Status read_denormalizer(ModelSpec *spec, Proto proto, Error *err) {
  ModelSpec other = {0};
  Status status = read_normalizer(&other, proto, err);
  spec->charsmap += other.charsmap;
  return status;
}

typedef struct Scores {
  float *items;
  int64_t n, capacity;
} Scores;

static void add_score(Scores *scores, float score) {
  if (scores->n == scores->capacity) {
    scores->capacity = scores->capacity == 0 ? 1024 : 2 * scores->capacity;
    scores->items = realloc(scores->items, (size_t)scores->capacity * sizeof(float));
    CHECK(scores->items != NULL, "no memory for %lld scores", (long long)scores->capacity);
  }
  scores->items[scores->n++] = score;
}

static Status read_piece(Tokenizer *tokenizer, Scores *scores, Proto proto, Error *err) {
  Status status = STATUS_OK;
  ProtoField field;
  int64_t at = proto.pos, size = 0, begin = proto.pos;
  uint64_t type = PIECE_NORMAL;
  float score = 0;
  while (proto.pos < proto.end) {
    TRY(read_field(&proto, &field, err));
    if (field.number == 1) {
      TRY(expect_wire(&proto, &field, WIRE_BYTES, err));
      at = field.at;
      size = field.size;
    } else if (field.number == 2) {
      TRY(expect_wire(&proto, &field, WIRE_FIXED32, err));
      uint32_t bits = (uint32_t)field.value;
      memcpy(&score, &bits, 4);
    } else if (field.number == 3) {
      TRY(expect_wire(&proto, &field, WIRE_VARINT, err));
      type = field.value;
    }
  }
  if (size == 0) TRY(fault(&proto, begin, err, "a piece is empty"));
  if (type < PIECE_NORMAL || type > PIECE_BYTE) {
    TRY(fault(&proto, begin, err, "a piece is of unknown type"));
  }
  const char *piece = (const char *)proto.data + at;
  int32_t id = (int32_t)scores->n;
  TRY(tokenizer_add_piece(tokenizer, id, piece, size, (PieceType)type, proto.path, err));
  add_score(scores, score);
  if (type == PIECE_CONTROL || type == PIECE_UNKNOWN) {
    added_tokens_add(&tokenizer->added, piece, size, (AddedToken){.id = id, .special = true});
  } else if (type == PIECE_USER) {
    added_tokens_add(&tokenizer->frozen, piece, size, (AddedToken){.id = id});
  }
done:
  return status;
}

static Status read_model(Tokenizer *tokenizer, Scores *scores, ModelSpec *spec, Proto proto,
                         Error *err) {
  Status status = STATUS_OK;
  ProtoField field;
  while (proto.pos < proto.end) {
    TRY(read_field(&proto, &field, err));
    if (field.number > 5 || field.number == 4) continue; // self tests, extensions
    TRY(expect_wire(&proto, &field, WIRE_BYTES, err));
    switch (field.number) {
    case 1:
      TRY(read_piece(tokenizer, scores, inside(&proto, &field), err));
      break;
    case 2:
      TRY(read_trainer(spec, inside(&proto, &field), err));
      break;
    case 3:
      TRY(read_normalizer(spec, inside(&proto, &field), err));
      break;
    default:
      TRY(read_denormalizer(spec, inside(&proto, &field), err));
      break;
    }
  }
  if (scores->n == 0) TRY(fault(&proto, 0, err, "it has no pieces"));
done:
  return status;
}

static Status check_spec(const ModelSpec *spec, const char *path, Error *err) {
  static const char *const types[] = {"of an unknown type", "a unigram model", "BPE",
                                      "a word model", "a character model"};
  const char *what = NULL;
  if (spec->model_type != 2) what = types[spec->model_type];
  if (spec->suffix) what = "one with treat_whitespace_as_suffix";
  if (spec->remove_spaces) what = "one with remove_extra_whitespaces";
  if (!spec->escape_spaces) what = "one without escape_whitespaces";
  if (spec->charsmap > 0) what = "one with normalisation (precompiled_charsmap)";
  if (what == NULL) return STATUS_OK;
  return error_set(err, STATUS_DATA,
                   "%s: expected a SentencePiece BPE model as LLaMA has it, found %s, which is not "
                   "supported",
                   path, what);
}

static int32_t control_piece(const Tokenizer *tokenizer, const char *name) {
  int32_t id = tokenizer_find(tokenizer, name);
  return id >= 0 && tokenizer->type[id] == PIECE_CONTROL ? id : -1;
}

Status tokenizer_from_model(Tokenizer **tokenizer, const char *path, const void *data, int64_t size,
                            Error *err) {
  Status status = STATUS_OK;
  Scores scores = {0};
  ModelSpec spec = {
      .model_type = 1, .dummy_prefix = true, .remove_spaces = true, .escape_spaces = true};
  Tokenizer *made = tokenizer_new(FAMILY_SPM);
  *tokenizer = NULL;
  TRY(read_model(made, &scores, &spec, (Proto){path, data, 0, size}, err));
  TRY(check_spec(&spec, path, err));
  TRY(spm_finish(made, scores.items, path, err));
  if (made->byte_fallback != spec.byte_fallback) {
    TRY(error_set(err, STATUS_DATA, "%s: byte_fallback is %s, but there are %s byte pieces", path,
                  spec.byte_fallback ? "true" : "false", spec.byte_fallback ? "no" : "256"));
  }
  made->unk_text = spec.unk_surface;
  spec.unk_surface = NULL;
  spm_set_text(made, spec.dummy_prefix);
  made->bos = control_piece(made, spec.bos == NULL ? "<s>" : spec.bos);
  made->eos = control_piece(made, spec.eos == NULL ? "</s>" : spec.eos);
  made->adds_bos = made->bos >= 0; // as LLaMA's tokenizer does unless its config says otherwise
  *tokenizer = made;
  made = NULL;
done:
  tokenizer_close(made);
  free(scores.items);
  free(spec.unk_surface);
  free(spec.bos);
  free(spec.eos);
  return status;
}
