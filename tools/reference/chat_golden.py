"""tests/golden/dataset/chat.json: conversations as ids, with the assistant's tokens marked, by
transformers' apply_chat_template; for chatml (SmolLM2-Instruct's template), llama2 and llama3 (those
models' own), each with {% generation %} put around what an answer is, which changes no id. For
llama2 the text is the template's, its ids those of sentencepiece for each stretch between <s> and
</s>, as Meta's own code and the slow LlamaTokenizer make them.

Writes llama3/ as well: the byte-level BPE of tests/golden/dataset with Llama 3's special tokens.
"""
import json
import os
import re

import refcommon as rc
import sentencepiece
import tokenizers
from transformers import PreTrainedTokenizerFast

SCRIPT = "chat_golden.py"
OUT = f"{rc.GOLDEN}/dataset"
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' + '\n'}}{% endgeneration %}{% else %}"
    "{{ message['content'] + '<|im_end|>' + '\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] | trim %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message %}"
    "{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + (message['content'] | trim) %}"
    "{% else %}{% set content = message['content'] | trim %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{% generation %}{{ ' ' + content + ' ' + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}")
LLAMA3_CHAT = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set head = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' %}"
    "{% if loop.index0 == 0 %}{% set head = bos_token + head %}{% endif %}{{ head }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")

CONVERSATIONS = [
    [["user", "Which chamber pumps blood into the aorta?"], ["assistant", "The left ventricle."]],
    [["system", "Answer in one word."], ["user", "How much is 12 + 30?"], ["assistant", "42"],
     ["user", "And naïve β-blockers (心, 🫀)?"], ["assistant", "They slow it."]],
    [["user", "First.\n\nSecond line"], ["assistant", "One\ntwo\n\nthree"], ["user", "Why?"],
     ["assistant", "So."], ["user", "Go on"], ["assistant", "No."]],
    [["system", "  Be kind. \n"], ["user", "\t spaces \u00a0"], ["assistant", "kept or not  "]],
    [["user", "What is [INST] or <<SYS>>?"], ["assistant", "Marks [/INST] of a template."], ["user", "Thanks"]],
]


def write(path, data):
    if rc.CHECK:
        assert open(path, encoding="utf-8").read() == data, f"{path} has changed"
        print(f"{path}: as stored")
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(data)
    rc.record(path, SCRIPT, 0)
    print(f"{path}: {len(data)} bytes")


def llama3_tokenizer():
    """SmolLM2-like BPE whose added tokens are Llama 3's, with the ids above its own."""
    tok = json.load(open(f"{OUT}/bpe/tokenizer.json"))
    first = max(tok["model"]["vocab"].values()) + 1
    tok["added_tokens"] = [t for t in tok["added_tokens"] if not t["content"].startswith("<|im")]
    for i, name in enumerate(LLAMA3):
        tok["added_tokens"].append({"id": first + i, "content": name, "single_word": False, "lstrip": False,
                                    "rstrip": False, "normalized": False, "special": True})
    write(f"{OUT}/llama3/tokenizer.json", json.dumps(tok, ensure_ascii=False) + "\n")
    config = {"bos_token": LLAMA3[0], "eos_token": "<|eot_id|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    write(f"{OUT}/llama3/tokenizer_config.json", json.dumps(config, indent=1) + "\n")


def fast(folder, bos, eos):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_file(f"{OUT}/{folder}/tokenizer.json"),
                                   bos_token=bos, eos_token=eos)


def encode(tok, template, turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    prompt = turns[-1][0] == "user"
    made = tok.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=True,
                                   return_assistant_tokens_mask=True, add_generation_prompt=prompt)
    text = tok.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt)
    return {"ids": made["input_ids"], "labels": made["assistant_masks"], "text": text}


def encode_llama2(sp, tok, turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    text = tok.apply_chat_template(messages, chat_template=LLAMA2, tokenize=False)
    ids, labels = [], []
    for stretch in re.findall(r"<s>.*?(?:</s>|$)", text, re.DOTALL):
        end = stretch.endswith("</s>")
        body = stretch[3:-4] if end else stretch[3:]
        answer = body.rindex(" [/INST]") + len(" [/INST]") if end else len(body)
        if "Marks [/INST]" in body:  # one answer spells the mark
            answer = body.index(" [/INST]") + len(" [/INST]")
        pieces, before = sp.encode(body), len(sp.encode(body[:answer]))
        ids += [sp.bos_id()] + pieces + ([sp.eos_id()] if end else [])
        labels += [0] * (1 + before) + [1] * (len(pieces) - before + end)
    return {"ids": ids, "labels": labels, "text": text}


def main():
    llama3_tokenizer()
    spm = sentencepiece.SentencePieceProcessor(model_file=f"{OUT}/spm/tokenizer.model")
    text_only = fast("bpe", "<s>", "</s>")
    tokens = [("bpe", "chatml", fast("bpe", "<|im_start|>", "<|im_end|>"), CHATML),
              ("spm", "llama2", None, LLAMA2),
              ("llama3", "llama3", fast("llama3", LLAMA3[0], "<|eot_id|>"), LLAMA3_CHAT)]
    cases = []
    for folder, template, tok, chat in tokens:
        for turns in CONVERSATIONS:
            cases.append({"tokenizer": folder, "template": template, "turns": turns, **(encode(tok, chat, turns) if tok else encode_llama2(spm, text_only, turns))})
            print(template, len(cases[-1]["ids"]), sum(cases[-1]["labels"]), repr(cases[-1]["text"][:60]))
    text = json.dumps(cases, ensure_ascii=False, separators=(",", ":")).replace('{"tok', '\n{"tok')
    write(f"{OUT}/chat.json", text + "\n")


main()
