// Graphs: the nodes that a capture made, run again by every launch. A launch is one piece of the
// stream's work; inside it nodes run in a seeded random order that the edges allow, and two nodes
// that no path orders and that touch the same memory, one of them writing, are reported. A node
// keeps its arguments and addresses, and finds the memory's content as it is then.
#include "sim_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

struct CUgraph_st {
  SimBody *body;
};

struct CUgraphExec_st {
  SimBody *body;
  SimClock last; // of its launches: it never runs beside itself
};

// ---- nodes ----

SimBody *sim_body_open(void) {
  SimBody *b = calloc(1, sizeof *b);
  if (b == NULL) abort();
  b->uses = 1;
  return b;
}

void sim_body_close(SimBody *b) {
  if (b == NULL || --b->uses > 0) return;
  for (int i = 0; i < b->n; i++) {
    sim_work_free(b->nodes[i].work);
    sim_deps_clear(&b->nodes[i].after);
    free(b->nodes[i].numbers);
  }
  free(b->nodes);
  free(b->reach);
  free(b);
}

static int64_t number_of(const void *address) { // of the allocation; 0: none
  const SimBlockOfMemory *block = sim_block_at(address);
  return block != NULL ? block->number : 0;
}

int sim_body_add(SimBody *b, SimWork *w, const SimDeps *after) {
  if (b->n == b->room) {
    b->room = b->room * 2 + 64;
    b->nodes = realloc(b->nodes, (size_t)b->room * sizeof *b->nodes);
    if (b->nodes == NULL) abort();
  }
  SimNode *node = &b->nodes[b->n];
  *node = (SimNode){.work = w, .n_numbers = w->n};
  node->numbers = malloc((size_t)(w->n + 1) * sizeof *node->numbers);
  if (node->numbers == NULL) abort();
  for (int i = 0; i < w->n; i++) node->numbers[i] = number_of(w->ranges[i].from);
  sim_deps_copy(&node->after, after);
  return b->n++;
}

static size_t words(const SimBody *b) {
  return ((size_t)b->n + 63) / 64;
}

void sim_body_finish(SimBody *b) {
  if (b->reach != NULL || b->n == 0) return;
  b->reach = calloc((size_t)b->n * words(b), sizeof *b->reach);
  if (b->reach == NULL) abort();
  for (int i = 0; i < b->n; i++) {
    uint64_t *row = b->reach + (size_t)i * words(b);
    for (int k = 0; k < b->nodes[i].after.n; k++) {
      const int j = b->nodes[i].after.at[k];
      for (size_t word = 0; word < words(b); word++)
        row[word] |= b->reach[(size_t)j * words(b) + word];
      row[j / 64] |= UINT64_C(1) << j % 64;
    }
  }
}

bool sim_body_after(const SimBody *b, int i, int j) {
  return i == j || (b->reach[(size_t)i * words(b) + (size_t)j / 64] >> j % 64 & 1) != 0;
}

cudaGraph_t sim_graph_of(SimBody *body) {
  cudaGraph_t graph = calloc(1, sizeof *graph);
  if (graph == NULL) abort();
  graph->body = body;
  return graph;
}

// ---- running ----

typedef struct GraphRun {
  SimBody *body;
  uint64_t hashes[]; // of each node's pinned source at the launch
} GraphRun;

static void drop_run(void *data) {
  GraphRun *run = data;
  sim_body_close(run->body);
  free(run);
}

// Memory that is gone, or that came again: the node's addresses are those of the capture.
static bool still_there(const SimNode *node) {
  for (int i = 0; i < node->n_numbers; i++) {
    if (number_of(node->work->ranges[i].from) == node->numbers[i]) continue;
    sim_report(SIM_RELEASED, NULL, (SimLine){0},
               "graph: %s uses memory that was freed after the capture", node->work->title);
    sim_runtime()->failed = cudaErrorIllegalAddress;
    return false;
  }
  return true;
}

static void run_node(const GraphRun *run, int i) {
  SimNode *node = &run->body->nodes[i];
  if (!still_there(node)) return;
  if (sim_work_hash(node->work) != run->hashes[i])
    sim_report(SIM_STREAM_CONFLICT, NULL, (SimLine){0},
               "graph: %s: its pinned source was written again before the copy had run",
               node->work->title);
  sim_work_run_inside(node->work);
}

static void check_conflicts(const SimBody *b) {
  for (int i = 0; i < b->n; i++) {
    for (int j = 0; j < i; j++) {
      if (sim_body_after(b, i, j)) continue;
      const SimWork *w = b->nodes[i].work, *v = b->nodes[j].work;
      const SimRange *r = sim_work_meeting(w, v);
      if (r == NULL) continue;
      const SimMemory *m = sim_memory_find(r->from);
      const SimTensorName *t = m != NULL ? sim_tensor_at(m, r->from) : NULL;
      sim_report(SIM_STREAM_CONFLICT, NULL, (SimLine){0},
                 "graph: %s and %s use the same memory%s%s, and no edge orders them", v->title,
                 w->title, t != NULL ? " " : "", t != NULL ? t->name : "");
    }
  }
}

static void run_graph(SimWork *outer, void *data) {
  const GraphRun *run = data;
  SimBody *b = run->body;
  int *left = calloc((size_t)b->n + 1, sizeof *left),
      *ready = malloc(((size_t)b->n + 1) * sizeof *ready);
  int n = 0;
  if (left == NULL || ready == NULL) abort();
  for (int i = 0; i < b->n; i++) {
    left[i] = b->nodes[i].after.n;
    if (left[i] == 0) ready[n++] = i;
  }
  while (n > 0) {
    const int at = (int)(sim_stream_draw() % (uint64_t)n), i = ready[at];
    ready[at] = ready[--n];
    run_node(run, i);
    for (int k = i + 1; k < b->n; k++) {
      for (int d = 0; d < b->nodes[k].after.n; d++)
        if (b->nodes[k].after.at[d] == i && --left[k] == 0) ready[n++] = k;
    }
  }
  free(left);
  free(ready);
  // Kernels that declare nothing have shown what they touch; later launches add little.
  if (b->runs++ < 2) check_conflicts(b);
  for (int i = 0; i < b->n; i++) {
    const SimWork *w = b->nodes[i].work;
    for (int k = b->nodes[i].n_numbers; k < w->n; k++) {
      const SimRange *r = &w->ranges[k];
      sim_work_touch(outer, r->from, r->rows, r->row, r->stride, r->reads, r->writes);
    }
  }
}

// ---- the calls ----

EXPORTED cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph,
                                          unsigned long long flags) {
  if (out == NULL || graph == NULL) return sim_result(cudaErrorInvalidValue);
  if ((flags & ~(unsigned long long)cudaGraphInstantiateFlagUseNodePriority) != 0) {
    sim_report(SIM_UNSUPPORTED, NULL, (SimLine){0}, "cudaGraphInstantiate: flags %llu", flags);
    return sim_result(cudaErrorNotSupported);
  }
  cudaGraphExec_t exec = calloc(1, sizeof *exec);
  if (exec == NULL) return sim_result(cudaErrorMemoryAllocation);
  exec->body = graph->body;
  exec->body->uses++;
  *out = exec;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t graph,
                                                   unsigned long long flags) {
  return cudaGraphInstantiate(out, graph, flags);
}

EXPORTED cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == NULL) return sim_result(cudaErrorInvalidValue);
  sim_body_close(graph->body);
  free(graph);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (exec == NULL) return sim_result(cudaErrorInvalidValue);
  sim_body_close(exec->body); // launches that are queued hold it still
  free(exec);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  if (exec == NULL || !sim_stream_valid(sim_stream_of(stream)))
    return sim_result(cudaErrorInvalidValue);
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  SimStream *s = sim_stream_of(stream);
  if (exec == NULL || !sim_stream_valid(s)) return sim_result(cudaErrorInvalidValue);
  SimBody *b = exec->body;
  GraphRun *run = malloc(sizeof *run + (size_t)b->n * sizeof *run->hashes);
  if (run == NULL) return sim_result(cudaErrorMemoryAllocation);
  run->body = b;
  b->uses++;
  char title[64];
  snprintf(title, sizeof title, "a graph of %d nodes", b->n);
  SimWork *w = sim_work(title, SIM_WORK_GRAPH, run_graph, run);
  w->drop = drop_run;
  for (int i = 0; i < b->n; i++) {
    const SimWork *node = b->nodes[i].work;
    for (int k = 0; k < node->n; k++) {
      const SimRange *r = &node->ranges[k];
      sim_work_touch(w, r->from, r->rows, r->row, r->stride, r->reads, r->writes);
    }
    if (node->learns) w->learns = true;
    // Memory that is gone by now is told of when the node would run.
    run->hashes[i] =
        node->source.row > 0 && sim_block_at(node->source.from) != NULL ? sim_work_hash(node) : 0;
  }
  sim_stream_join(&s->clock, &exec->last);
  const cudaError_t error = sim_stream_push(s, w);
  if (error == cudaSuccess) exec->last = s->clock;
  return sim_result(error);
}

static enum cudaGraphExecUpdateResult compare(const SimBody *a, const SimBody *b, int *node) {
  if (a->n != b->n) return cudaGraphExecUpdateErrorTopologyChanged;
  for (int i = 0; i < a->n; i++) {
    const SimNode *x = &a->nodes[i], *y = &b->nodes[i];
    *node = i;
    if (x->work->kind != y->work->kind) return cudaGraphExecUpdateErrorNodeTypeChanged;
    if (x->after.n != y->after.n ||
        memcmp(x->after.at, y->after.at, (size_t)x->after.n * sizeof *x->after.at) != 0)
      return cudaGraphExecUpdateErrorTopologyChanged;
  }
  return cudaGraphExecUpdateSuccess;
}

EXPORTED cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                         cudaGraphExecUpdateResultInfo *info) {
  int node = -1;
  if (exec == NULL || graph == NULL || info == NULL) return sim_result(cudaErrorInvalidValue);
  memset(info, 0, sizeof *info);
  info->result = compare(exec->body, graph->body, &node);
  if (info->result != cudaGraphExecUpdateSuccess) {
    if (node >= 0) info->errorNode = (cudaGraphNode_t)(void *)&graph->body->nodes[node];
    return sim_result(cudaErrorGraphExecUpdateFailure);
  }
  graph->body->uses++;
  sim_body_close(exec->body);
  exec->body = graph->body;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
  if (graph == NULL || n == NULL) return sim_result(cudaErrorInvalidValue);
  for (size_t i = 0; nodes != NULL && i < *n; i++)
    nodes[i] = i < (size_t)graph->body->n ? (cudaGraphNode_t)(void *)&graph->body->nodes[i] : NULL;
  if (nodes == NULL || *n > (size_t)graph->body->n) *n = (size_t)graph->body->n;
  return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, enum cudaGraphNodeType *type) {
  if (node == NULL || type == NULL) return sim_result(cudaErrorInvalidValue);
  switch (((const SimNode *)(void *)node)->work->kind) {
  case SIM_WORK_COPY:
    *type = cudaGraphNodeTypeMemcpy;
    break;
  case SIM_WORK_MEMSET:
    *type = cudaGraphNodeTypeMemset;
    break;
  default:
    *type = cudaGraphNodeTypeKernel;
  }
  return cudaSuccess;
}
