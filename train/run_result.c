// What a run leaves behind.
#include "run_parts.h"

#include "checkpoint_folder.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

Status run_write_result(Run *run, Error *err) {
  Status status = STATUS_OK;
  PeftAdapter adapter = {0};
  char *path = text_format("%s/adapter", run->config.output.dir);
  TRY(train_model_adapter(&adapter, &run->model, run->be, &run->config, run->base_hash, err));
  TRY(peft_adapter_write(&adapter, path, err));
  if (!isnan(run->first_eval) && !isnan(run->last_eval)) {
    printf("held-out loss: %.4f before, %.4f after %" PRId64 " steps\n", run->first_eval,
           run->last_eval, run->total);
  } else if (!isnan(run->last_eval)) {
    printf("held-out loss: %.4f after %" PRId64 " steps\n", run->last_eval, run->total);
  }
  printf("adapter: %s\n", path);
  PlanUse use = plan_use(&run->memory);
  plan_show_use(&run->plan, &use);
done:
  free(path);
  peft_adapter_free(&adapter);
  return status;
}
