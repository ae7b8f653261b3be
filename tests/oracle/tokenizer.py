#!/usr/bin/env python3
"""Compares `emcell tokenize` with the tokenizers library on random texts, ids and chats.

usage: tokenizer.py EMCELL_BINARY TOKENIZER_DIR [N]

N texts (default 20000), half as many id lists, and a quarter as many chats where jinja2 and a chat
template are there. Ends with 0 when all agree, 1 with the first cases that do not.
"""

import json
import pathlib
import random
import subprocess
import sys
import unicodedata

import tokenizers

WORDS = ("the of and cell type GATA3 POU5F1 NANOG HLA-DRB1 MT-CO1 KRT18 epiblast Hypoblast "
         "don't I'LL we'Ve it'S 'tis 'RE you'd x\u017f'\u017f l'amour 3.14 2024 1e-5 a_b foo(bar) "
         "// /* */ == != -> \u00e9t\u00e9 na\u00efve stra\u00dfe \u0444\u044b\u0432\u0430 \u6f22\u5b57 "
         "\u304b\u306a \u30ab\u30bf\u30ab\u30ca \ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22 "
         "\u0939\u093f\u0928\u094d\u0926\u0940 \u05e2\u05d1\u05e8\u05d9\u05ea "
         "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0661\u0662\u0663 \u216b \u00b2\u00b3 "
         "\U0001F600 \U0001F469\u200d\U0001F4BB \U0001F1E9\U0001F1EA").split(" ")
BLANKS = [" ", "  ", "   ", " " * 17, "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\t\t", "\u00a0",
          "\u3000", "\u2028", "\u0085", "\u000b", "\u000c", "\u200b", "\ufeff", "\u001c", "\u180e"]
HANGUL = [chr(c) for c in (0x1100, 0x1112, 0x1161, 0x1175, 0x11A8, 0x11C2, 0x11A7, 0xAC00, 0xAC01,
                           0xD7A3)]


class Texts:
    def __init__(self, added, seed):
        self.random = random.Random(seed)
        self.added = added
        points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
        self.points = points
        self.marks = [c for c in points if unicodedata.combining(chr(c))]
        self.composed = [c for c in points if unicodedata.decomposition(chr(c))]

    def fragment(self):
        r = self.random
        kind = r.randrange(17)
        if kind < 4:
            return r.choice(("", " ")) + r.choice(WORDS)
        if kind == 4:
            return r.choice(BLANKS)
        if kind == 5:
            return "".join(r.choice(BLANKS) for _ in range(r.randrange(6)))
        if kind == 6:
            return chr(r.choice(self.points))
        if kind == 7:
            return chr(r.randrange(0x20, 0x3000))
        if kind == 8:
            return "".join(chr(r.choice(self.marks)) for _ in range(r.randrange(1, 7)))
        if kind == 9:
            return r.choice("aeoAEOxn<>=\u0438\u0915\u0627 ") + chr(r.choice(self.marks))
        if kind == 10:
            return unicodedata.normalize(r.choice(("NFC", "NFD")), chr(r.choice(self.composed)))
        if kind == 11:
            return "".join(r.choice(HANGUL) for _ in range(r.randrange(1, 5)))
        if kind == 12 and self.added:
            token = r.choice(self.added)
            cut = r.randrange(len(token) + 1)
            return r.choice((token, token, token[:cut], token[cut:], token[:cut] + " " + token[cut:],
                             token.upper()))
        if kind == 13:
            return "".join(r.choice("'sSdDtTrReEvVmMlL\u017f ") for _ in range(r.randrange(1, 8)))
        if kind == 14:
            return "".join(r.choice("!?.,;:-_()[]{}<>|/\\\"'`~@#$%^&*+=\r\n ")
                           for _ in range(r.randrange(1, 9)))
        if kind == 15:
            return r.choice("ab0.- \u00e9") * r.randrange(1, 120)
        return "\0" * r.randrange(1, 3)

    def text(self):
        return "".join(self.fragment() for _ in range(self.random.randrange(1, 14)))


def ask(command, requests):
    """One answer a request, a dict each."""
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    if len(answers) != len(requests):
        sys.exit("%s: %d answers to %d lines" % (" ".join(command), len(answers), len(requests)))
    return answers


def report(what, cases):
    """cases: (request, wanted, got). Prints the first differences; true when there are none."""
    bad = [c for c in cases if c[1] != c[2]]
    print("%s: %d compared, %d differ" % (what, len(cases), len(bad)))
    for request, want, got in bad[:5]:
        print("  %s\n    wanted %s\n    got    %s" % (json.dumps(request)[:400], want, got))
    return not bad


def check_encode(command, oracle, texts, n):
    requests = [{"text": texts.text()} for _ in range(n)]
    wanted = oracle.encode_batch([r["text"] for r in requests], add_special_tokens=False)
    answers = ask(command, requests)
    return report("texts", [(r, {"ids": w.ids}, a) for r, w, a in zip(requests, wanted, answers)])


def check_decode(command, oracle, texts, n):
    size = oracle.get_vocab_size(with_added_tokens=True)
    r = texts.random
    requests = []
    for _ in range(n):
        if r.randrange(2):
            ids = [r.randrange(size + 40) for _ in range(r.randrange(1, 30))]
        else:  # pieces of real characters, so that many halves lie side by side
            ids = oracle.encode(texts.text(), add_special_tokens=False).ids
            ids = ids[r.randrange(len(ids)):] + ids[:r.randrange(len(ids))] if ids else [0]
        requests.append({"ids": ids})
    answers = ask(command + ["--decode"], requests)
    return report("id lists", [
        (q, {"text": oracle.decode(q["ids"], skip_special_tokens=False),
             "text_skip_special": oracle.decode(q["ids"], skip_special_tokens=True)}, a)
        for q, a in zip(requests, answers)])


def chat_text(texts):
    r = texts.random
    parts = ["<think>", "</think>", "\n", "\n\n", "<tool_response>", "</tool_response>", "ask", " "]
    return r.choice((texts.text(), "".join(r.choice(parts) for _ in range(r.randrange(7))),
                     "<tool_response>x</tool_response>"))


def chat_request(texts):
    r = texts.random
    messages = []
    for _ in range(r.randrange(1, 7)):
        message = {"role": r.choice(("system", "user", "user", "assistant", "assistant", "robot"))}
        if r.randrange(12) or not messages:
            message["content"] = chat_text(texts)
        elif r.randrange(2):
            message["content"] = r.choice((None, [{"type": "text", "text": "x"}]))
        if r.randrange(4) == 0:
            message["reasoning_content"] = r.choice((chat_text(texts), "", "\n", None))
        messages.append(message)
    request = {"messages": messages}
    if r.randrange(3):
        request["add_generation_prompt"] = bool(r.randrange(2))
    if r.randrange(2):
        request["enable_thinking"] = r.choice((True, False, None, 0))
    return request


def check_chat(command, oracle, texts, n, folder):
    template = folder / "chat_template.jinja"
    if not template.exists():
        print("chats: NOT RUN, %s has no chat_template.jinja" % folder)
        return True
    try:
        import jinja2.sandbox
    except ImportError:
        print("chats: NOT RUN, there is no jinja2")
        return True
    # As transformers sets it up.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    compiled = environment.from_string(template.read_text())
    requests = [chat_request(texts) for _ in range(n)]
    cases = []
    for request, answer in zip(requests, ask(command + ["--chat"], requests)):
        prompt = compiled.render(**request)
        ids = oracle.encode(prompt, add_special_tokens=False).ids
        cases.append((request, {"prompt": prompt, "ids": ids}, answer))
    return report("chats", cases)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[2])
    n = int(sys.argv[3]) if len(sys.argv) == 4 else 20000
    command = [sys.argv[1], "tokenize", "--model", str(folder)]
    oracle = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = [t.content for t in oracle.get_added_tokens_decoder().values()]
    texts = Texts(added, seed=20240917)
    ok = check_encode(command, oracle, texts, n)
    ok = check_decode(command, oracle, texts, n // 2) and ok
    ok = check_chat(command, oracle, texts, n // 4, folder) and ok
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
