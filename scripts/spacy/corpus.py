"""Texts for the parity check: documents that this machine has, documents that are made, and hostile ones.

A machine without documents (a bare container) has Python's own documentation strings at least.
"""
import ast
import gzip
import os
import pathlib
import random
import sys
import sysconfig

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import documents
import hostile

DOCUMENT_FOLDERS = ["/usr/share/doc", "/usr/share/perl", "/usr/share/common-licenses", "/usr/share/info"]
LONGEST = 4_000
SHORTEST = 40
LARGEST_FILE = 2_000_000


def paragraphs(text):
    """The paragraphs of a text, short ones left out and long ones cut."""
    for paragraph in text.split("\n\n"):
        if len(paragraph) >= SHORTEST:
            yield paragraph[:LONGEST]


def documents_of_the_machine():
    """Paragraphs of the documentation that is installed."""
    for folder in DOCUMENT_FOLDERS:
        for place, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                path = os.path.join(place, name)
                try:
                    if os.path.islink(path) or os.path.getsize(path) > LARGEST_FILE:
                        continue
                    opener = gzip.open if name.endswith(".gz") else open
                    with opener(path, "rb") as file:
                        text = file.read(LARGEST_FILE).decode("utf-8")
                except (OSError, EOFError, UnicodeDecodeError):
                    continue
                yield from paragraphs(text)


def documentation_of_python():
    """Paragraphs of the documentation strings of Python's library."""
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                yield from paragraphs(ast.get_docstring(node) or "")


def sample(rng, name, texts, count):
    """At most so many of the texts, the same ones each time, without those that are there twice."""
    texts = sorted(set(texts))
    rng.shuffle(texts)
    return [(name, text) for text in texts[:count]]


def corpus():
    """Pairs of a source's name and a text."""
    rng = random.Random(38)
    made = list(documents.texts(1_500))
    texts = [("made documents", text) for text in made]
    texts += [("hostile texts", text) for text in hostile.texts(2_500, made[:300])]
    texts += sample(rng, "Python's documentation", documentation_of_python(), 1_500)
    texts += sample(rng, "the machine's documents", documents_of_the_machine(), 3_000)
    return texts
