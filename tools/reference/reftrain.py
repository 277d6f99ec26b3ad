"""The training side shared by the tiny and the SmolLM2 dumpers: batches, loss, AdamW steps.

A step's batch is stored packed, under a prefix P such as "step3.":
    P ids         i32 [R]    the sequences one behind the other
    P labels      i32 [R]    as transformers takes them, aligned with ids and not shifted: -100 or the
                             id itself; row r trains where labels[r+1] != -100 in the same sequence
    P cu_seqlens  i32 [B+1]
loss = sum of -log p over the batch's label tokens / their number, counted after the shift, as
transformers does it when it gets num_items_in_batch; each sequence runs alone, unpadded.
"""
import numpy as np
import torch


def pack(prefix, sequences):
    """sequences: list of (ids, labels), i32 arrays of one length."""
    cu = np.cumsum([0] + [len(ids) for ids, _ in sequences]).astype(np.int32)
    return {f"{prefix}ids": np.concatenate([ids for ids, _ in sequences]).astype(np.int32),
            f"{prefix}labels": np.concatenate([lab for _, lab in sequences]).astype(np.int32),
            f"{prefix}cu_seqlens": cu}


def label_count(sequences):
    return sum(int((labels[1:] != -100).sum()) for _, labels in sequences)


def backward(model, sequences, autocast=False):
    """Adds the batch's gradients to the model's and returns its loss."""
    count, total = torch.tensor(label_count(sequences)), 0.0
    for ids, labels in sequences:
        if label_count([(ids, labels)]) == 0:
            continue
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(input_ids=torch.from_numpy(ids.astype(np.int64))[None],
                         labels=torch.from_numpy(labels.astype(np.int64))[None],
                         num_items_in_batch=count, use_cache=False).loss
        loss.backward()
        total += loss.item()
    return total


def trainable(model):
    return {k: p for k, p in model.named_parameters() if p.requires_grad}


def optimizer(model, lr, decay, warmup, steps, plus=None):
    """torch's AdamW with the Trainer's groups (no decay for norms and biases), transformers' linear
    schedule: step k (from 0) runs at lr * lambda(k), so with a warm-up the first one at 0. plus:
    PEFT's LoRA+ groups, with that ratio of B's rate to A's."""
    from transformers import get_linear_schedule_with_warmup
    if plus is not None:
        from peft.optimizers import create_loraplus_optimizer
        opt = create_loraplus_optimizer(model, torch.optim.AdamW, lr=lr, loraplus_lr_ratio=plus,
                                        loraplus_weight_decay=decay, betas=(0.9, 0.999), eps=1e-8)
        return opt, get_linear_schedule_with_warmup(opt, warmup, steps)
    plain = [p for k, p in trainable(model).items() if k.endswith("bias") or "norm" in k]
    decayed = [p for k, p in trainable(model).items() if not (k.endswith("bias") or "norm" in k)]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    opt = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.999), eps=1e-8)
    return opt, get_linear_schedule_with_warmup(opt, warmup, steps)


def run(model, batches, lr, decay, warmup, clip, plus=None, autocast=False, after_first=None, log=None):
    """Trains over the batches; returns {loss, grad_norm (before clipping), lr}, f32 [steps]."""
    opt, schedule = optimizer(model, lr, decay, warmup, len(batches), plus)
    curve = {"loss": [], "grad_norm": [], "lr": []}
    for step, sequences in enumerate(batches):
        opt.zero_grad()
        curve["loss"].append(backward(model, sequences, autocast))
        if step == 0 and after_first:
            after_first({k: p.grad.clone() for k, p in trainable(model).items()})
        norm = torch.nn.utils.clip_grad_norm_(list(trainable(model).values()), clip)
        curve["grad_norm"].append(float(norm))
        curve["lr"].append(schedule.get_last_lr()[0])
        opt.step()
        schedule.step()
        if log:
            log(step, curve["loss"][-1])
    return {k: np.asarray(v, np.float32) for k, v in curve.items()}
