// The runs of a sweep, each a child process.
#include "sweep_parts.h"

#include "check.h"
#include "mapped_file.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A process group of its own: Ctrl-C on a terminal reaches the sweep alone, which passes it on
// once. If the sweep dies the run stops and saves.
_Noreturn static void be_child(const RunConfig *config, int log,
                               const volatile sig_atomic_t *stop) {
  static Error err;
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  Status status = train_run(config, stop, &err);
  if (status != STATUS_OK) fprintf(stderr, "vma-train: %s\n", err.message);
  fflush(NULL);
  _exit((int)status);
}

static Status start(pid_t *child, const RunConfig *config, const SweepRun *run,
                    const volatile sig_atomic_t *stop, Error *err) {
  char *path = text_format("%s/log.txt", run->dir);
  Status status = file_make_folders(run->dir, err);
  int log = status == STATUS_OK ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  if (status == STATUS_OK && log < 0)
    status = error_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
  if (status == STATUS_OK) {
    fflush(NULL);
    *child = fork();
    if (*child == 0) be_child(config, log, stop);
    if (*child < 0) status = error_set(err, STATUS_FAILED, "no process: %s", strerror(errno));
  }
  if (log >= 0) close(log);
  free(path);
  return status;
}

// How the child ended; a signal is passed on to it.
static int wait_for(pid_t child, const volatile sig_atomic_t *stop) {
  int how = 0;
  bool told = false;
  while (waitpid(child, &how, WNOHANG) == 0) {
    if (*stop && !told) {
      kill(child, SIGTERM);
      told = true;
    }
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
  return how;
}

// The last line of the log: what the run said when it failed.
static void show_failure(const SweepRun *run, int how) {
  char *text = NULL, *path = text_format("%s/log.txt", run->dir);
  int64_t size = 0;
  if (WIFSIGNALED(how)) {
    printf("  failed: ended by signal %d; see %s\n", WTERMSIG(how), path);
  } else if (file_read_all(&text, &size, path, 1 << 26, NULL) == STATUS_OK && size > 0) {
    while (size > 0 && text[size - 1] == '\n') text[--size] = '\0';
    char *line = strrchr(text, '\n');
    printf("  failed: %s\n", line != NULL ? line + 1 : text);
  } else {
    printf("  failed: see %s\n", path);
  }
  free(text);
  free(path);
}

static Status run_one(const Sweep *s, int index, const volatile sig_atomic_t *stop, Error *err) {
  SweepRun *run = &s->runs[index];
  RunConfig *config = malloc(sizeof *config);
  pid_t child = 0;
  CHECK(config != NULL, "no memory for a config");
  sweep_read_result(run);
  bool done = strcmp(run->state, "finished") == 0;
  printf("[%d/%d] %s%s\n", index + 1, s->n, run->name, done ? ": finished before" : "");
  fflush(stdout);
  Status status = done ? STATUS_OK : sweep_config(config, s, run, err);
  if (!done && status == STATUS_OK) status = start(&child, config, run, stop, err);
  if (!done && status == STATUS_OK) {
    int how = wait_for(child, stop);
    int code = WIFEXITED(how) ? WEXITSTATUS(how) : STATUS_FAILED;
    sweep_read_result(run);
    const char *state = code == STATUS_OK          ? "finished"
                        : code == STATUS_TEMPORARY ? "stopped"
                                                   : "failed"; // of a killed one no file says so
    snprintf(run->state, sizeof run->state, "%s", state);
    if (strcmp(state, "failed") == 0) show_failure(run, how);
    if (strcmp(state, "stopped") == 0 && !*stop) // a file STOP in its folder
      printf("  stopped\n");
  }
  free(config);
  return status;
}

static Status lock_folder(int *lock, const char *dir, Error *err) {
  Status status = file_make_folders(dir, err);
  if (status != STATUS_OK) return status;
  *lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return STATUS_OK;
  return error_set(err, STATUS_USAGE, "output.dir: %s: another vma-train is at work in it", dir);
}

static Status outcome(const Sweep *s, const volatile sig_atomic_t *stop, Error *err) {
  int failed = 0, open = 0;
  for (int i = 0; i < s->n; i++) {
    failed += strcmp(s->runs[i].state, "failed") == 0;
    open += strcmp(s->runs[i].state, "finished") != 0;
  }
  if (*stop && open > 0) {
    return error_set(err, STATUS_TEMPORARY,
                     "stopped by a signal with %d of %d runs to do; the same command goes on", open,
                     s->n);
  }
  if (failed > 0) {
    return error_set(err, STATUS_FAILED, "%d of %d runs failed; the same command tries them again",
                     failed, s->n);
  }
  if (open > 0) {
    return error_set(err, STATUS_TEMPORARY, "%d of %d runs were stopped; the same command goes on",
                     open, s->n);
  }
  return STATUS_OK;
}

Status sweep_run(const SweepRequest *request, const volatile sig_atomic_t *stop, Error *err) {
  Status status = STATUS_OK;
  Sweep s;
  int lock = -1;
  signal(SIGCHLD, SIG_DFL); // ignored by who started this one, children end without a trace
  TRY(sweep_plan(&s, request, err));
  TRY(lock_folder(&lock, s.dir, err));
  for (int i = 0; i < s.n && !*stop; i++) TRY(run_one(&s, i, stop, err));
  TRY(sweep_write(&s, err));
  TRY(outcome(&s, stop, err));
done:
  if (lock >= 0) close(lock);
  sweep_free(&s);
  return status;
}
