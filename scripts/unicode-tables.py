"""Writes the character classes of Python's `str` methods as Rust tables: run with the Python that spaCy runs on.

usage: python3 scripts/unicode-tables.py > inference/src/spacy/unicode/tables.rs
"""
import sys
import unicodedata


def ranges(predicate):
    """Inclusive (first, last) pairs of the code points for which predicate(character) holds."""
    start = None
    for point in range(0x110001):
        inside = point < 0x110000 and predicate(chr(point))
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            yield start, point - 1
            start = None


def table(name, doc, predicate):
    numbers = [f"0x{n:x}" for pair in ranges(predicate) for n in pair]
    print(f"\n/// {doc}: first and last code point of each range, in order.")
    print("#[rustfmt::skip]")
    print(f"pub(super) static {name}: [u32; {len(numbers)}] = [")
    line = "   "
    for number in numbers:
        if len(line) + len(number) + 2 > 110:
            print(line)
            line = "   "
        line += f" {number},"
    print(line + "\n];")


print("//! Owns the character classes of Python's `str` that Rust's `char` draws elsewhere.")
print("//!")
print(f"//! Unicode {unicodedata.unidata_version}; written by `scripts/unicode-tables.py`, not by hand.")
table("ALPHABETIC", "`str.isalpha`: general categories L*", str.isalpha)
table("DIGIT", "`str.isdigit`: numeric type Digit or Decimal", str.isdigit)
