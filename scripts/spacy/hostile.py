"""Texts that are unlike any document: what a recogniser of names meets when messages come from anywhere.

Everything is made here, from a seed, so two runs have the same texts.
"""
import random

PIECES = {
    "blank": [" ", "  ", "\t", "\n", "\r\n", "\n\n\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\x0b", "\x0c", "\x1c", "\x85"],
    "control": ["\x00", "\x01", "\x07", "\x1b[31m", "\x7f", "\x9f", "\ufeff", "\ufffe", "\ufffd", "\U0010ffff", "\ue000"],
    "emoji": ["😀", "👩‍👩‍👧‍👦", "🇫🇷", "👍🏽", "❤️", "☃", ":)", ":-(", "<3", "(╯°□°)╯", "^_^", "xD", "¯\\_(ツ)_/¯", "8-)", ":')"],
    "scripts": ["東京都", "北京大学", "서울특별시", "Москва", "Ελλάδα", "القاهرة", "ירושלים", "दिल्ली", "กรุงเทพ", "Tōkyō", "İstanbul",
                "Ĳsselmeer", "ﬁnance", "Straße", "ǅungla", "e\u0301clair", "x\u0301\u0302\u0303", "𝐁𝐞𝐫𝐥𝐢𝐧", "ＡＢＣ１２３", "٣٫٥", "Ⅻ", "½", "१२३"],
    "web": ["https://example.com/a?b=c&d=%20#e", "www.example.co.uk", "http://[::1]:80/", "ftp://x", "user.name+tag@example.org", "example.com.",
            "//cdn", "a.b.c.d.e", "127.0.0.1:9092", "file:///etc", "@someone", "#hashtag", "C:\\Temp\\x.txt", "~/notes.txt", "s3://bucket/key"],
    "markup": ["<p>", "</p>", "<br/>", "&amp;", "&#39;", "<a href=\"x\">", "{{name}}", "**bold**", "`code`", "[1]", "[text](url)", "<!--", "-->",
               "{\"a\": [1, 2]}", "$x_1^2$", "\\frac{1}{2}", "%s", "${HOME}", "\\n"],
    "contractions": ["can't", "won't", "I'm", "I\u2019ve", "she'd've", "y'all", "'em", "o'clock", "ma'am", "dont", "Cant", "WON'T", "it's", "'twas",
                     "rock'n'roll", "gonna", "cannot", "let's", "Mary's", "the Joneses'", "d'you", "ain't", "'Cause", "could\u2019ve", "whats"],
    "numbers": ["1,234.56", "$5m", "US$3.5bn", "€10", "10%", "10 %", "3rd", "1990s", "'90s", "12:30pm", "12 p.m.", "2024-01-31", "31/1/24", "1e-9",
                "10km", "5'11\"", "-40°C", "1/2", "0x1F", "+1 (555) 010-9999", "No. 5", "4x4", "v1.2.3", "1.", "1)", "two-thirds", "III"],
    "marks": ["...", "…", "--", "—", "---", "?!", "!!!", "\"", "''", "``", "“", "”", "‘", "«", "»", "(", ")", "[", "]", ";", "/", "\\", "|", "_", "__",
              "*", "~", "•", "·", "§", "©", "™", "¿", "¡", "、", "。", "」", "-", "‐", "‑", "°", "&", "+", "=", "<", ">", "^"],
    "abbreviations": ["U.S.", "U.K.", "e.g.", "i.e.", "Dr.", "Mr.", "Inc.", "Ltd.", "St.", "a.m.", "Ph.D.", "J.R.R.", "etc.", "vs.", "Jan.", "Co.", "Corp.", "D.C."],
    "names": ["Angela", "Obama", "Google", "the United Nations", "New York", "Monday", "Toyota", "Amazon", "Paris", "Christmas", "Beethoven", "NASA",
              "the Pacific", "Korean", "World War II", "the Bible", "London", "Apple", "dollars", "million", "yesterday", "first", "Friday", "the Louvre"],
    "words": ["the", "of", "said", "in", "and", "was", "a", "to", "bought", "near", "by", "for", "with", "that", "is", "on", "at", "its", "who", "not"],
}
LONG = 100_000


def soup(rng, kinds, count):
    """Pieces of some kinds, some of them glued together."""
    parts = []
    for _ in range(count):
        parts.append(rng.choice(PIECES[rng.choice(kinds)]))
        parts.append(rng.choice(["", " ", " ", " ", "  ", "-", "/", "'", ".", ",", "\n"]))
    return "".join(parts)


def any_characters(rng, count):
    """Characters from anywhere in Unicode."""
    blocks = [(0, 0x80), (0x80, 0x250), (0x250, 0x800), (0x2000, 0x2800), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xF900, 0x10000), (0x1F000, 0x20000), (0, 0xD800), (0xE000, 0x110000)]
    return "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(count) if True).encode("utf-8", "ignore").decode("utf-8")


def damaged(rng, text):
    """A document with some of its characters changed, doubled, dropped or put in capitals."""
    out = []
    for character in text:
        chance = rng.random()
        if chance < 0.02:
            continue
        if chance < 0.04:
            character *= 2
        elif chance < 0.06:
            character = character.swapcase()
        elif chance < 0.07:
            character += rng.choice(PIECES[rng.choice(list(PIECES))])
        out.append(character)
    text = "".join(out)
    return rng.choice([text, text, text.upper(), text.lower(), text.title(), text.replace(" ", "\n"), text.replace(" ", "")])


def texts(count, documents):
    """So many texts, some of them made from `documents`."""
    rng = random.Random(8_3)
    kinds = list(PIECES)
    yield from ["", " ", "\n", "\t \n", "\u00a0", "a", ".", "'", "\x00", "👍"]
    yield from (piece for pieces in PIECES.values() for piece in pieces)
    yield from (piece * 50 for piece in ["a", ".", "-", "(", "'", "1", "a.", "ab-", " ", "\n", "é", "東", "😀", "can't", "http://", "<p>"])
    yield from ["x" * 5_000, "a-" * 2_000, "." * 3_000, "(" * 1_000 + ")" * 1_000, "1" * 1_000, "é" * 1_500, "a'" * 700]
    yield (" ".join(documents) * (LONG // 400))[:LONG]
    yield soup(rng, kinds, LONG // 6)[:LONG]
    made = 10 + sum(map(len, PIECES.values())) + 16 + 7 + 2
    for number in range(count - made):
        way = number % 4
        if way == 0:
            yield soup(rng, kinds, rng.randint(1, 60))
        elif way == 1:
            yield soup(rng, [rng.choice(kinds), "names", "words"], rng.randint(1, 40))
        elif way == 2:
            yield damaged(rng, rng.choice(documents))
        else:
            yield any_characters(rng, rng.randint(1, 80))
