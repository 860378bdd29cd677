"""Writes documents of some hundred tokens as JSON Lines, always the same ones for the same number.

usage: python3 scripts/documents.py COUNT

The first two are about Einstein and the Earth. The others are put together from sentences; what they say is made up.
"""
import json
import random
import sys

EINSTEIN = (
    "Albert Einstein was born in Ulm on 14 March 1879 and grew up in Munich. In 1905, while he worked at the patent "
    "office in Bern, he published four papers that changed physics, among them the special theory of relativity. "
    "He became a professor in Zurich and Prague, and moved to Berlin in 1914. The Royal Swedish Academy of Sciences "
    "gave him the Nobel Prize in Physics for 1921. In 1933 he left Germany for the United States, where he worked at "
    "the Institute for Advanced Study in Princeton until he died in 1955."
)
EARTH = (
    "Earth is the third planet from the Sun and the only one that is known to carry life. It formed about 4.5 billion "
    "years ago and turns once in 24 hours. Around 71 percent of its surface is water, most of it in the Pacific, the "
    "Atlantic and the Indian Ocean. The highest mountain, Mount Everest, stands 8,849 metres above the sea between "
    "Nepal and China. Its moon was first visited by people in July 1969, when Neil Armstrong and Buzz Aldrin landed."
)
FIRST = "Anna Bruno Carla David Elif Farid Greta Hannah Ivan Jonas Keiko Luca Maria Nadia Oscar Priya Quentin Rosa Samuel Tariq Ulrike Victor Wanda Ximena Yusuf Zoe Amara Bjorn Chen Dolores".split()
LAST = "Abbott Becker Costa Dubois Eriksen Ferrari Gupta Hoffmann Ibrahim Jensen Kowalski Lindgren Moreau Nakamura Okafor Petrov Quiroga Rossi Silva Tanaka Ueda Vasquez Weber Xu Yilmaz Zhang Adeyemi Brandt Cohen Duarte".split()
PLACES = "Lisbon|Nairobi|Osaka|Buenos Aires|Toronto|Marseille|Gdansk|Lagos|Hanoi|Dublin|Santiago|Tbilisi|Antwerp|Chicago|Jakarta|Reykjavik|Casablanca|Melbourne|Bogota|Ankara|Peru|Norway|Vietnam|Kenya|Portugal|California|Bavaria|the Netherlands|New Zealand|South Korea".split("|")
ORGS = "Northwind Energy|Halden Bank|the University of Ghent|Blue Harbor Shipping|the Ministry of Transport|Kestrel Robotics|Meridian Foods|the World Health Organization|Ostrava Steel|Lumen Pictures|the European Commission|Pacific Freight Inc.|Tern & Gull Ltd.|the Supreme Court|Alder Publishing|Quartz Telecom|the Red Cross|Vega Motors|the City Council|Orchard Insurance".split("|")
DATES = "in March 2019|last Tuesday|on 4 July 1998|in the spring of 2004|two weeks ago|since 1987|by the end of next year|on Friday morning|in the 1960s|for almost three years|on New Year's Day|in early September".split("|")
MONEY = "$4.2 million|about 300 euros|£75,000|more than 12 billion dollars|900 yen|$18|a quarter of a million pounds|€1.5 million".split("|")
NUMBERS = "three|forty-two|1,250|some 800|dozens of|seventeen|more than a hundred|two".split("|")
PERCENTS = "7.5 percent|almost a third|62%|two percent|about half".split("|")
WORKS = "The Glass Harbor|A Winter in Tromso|Letters to Nobody|The Long Tide".split("|")
PEOPLES = "Portuguese|Kenyan|Japanese|Canadian|Turkish|Norwegian|Argentine|Vietnamese".split("|")
THINGS = "a bridge|the old railway|a vaccine|cheap batteries|the harbour|a new library|wheat|solar panels|the archive|fishing boats".split("|")
SENTENCES = [
    "{person} joined {org} {date} after many years in {place}.",
    "{org} said it would invest {money} in {thing} near {place}.",
    "The {people} government bought {thing} from {org} for {money}.",
    "According to {person}, {percent} of the people in {place} had never heard of it.",
    "{number} engineers from {place} worked on {thing} together with {org}.",
    "\"We won't wait any longer,\" {person} told reporters in {place} {date}.",
    "Shares of {org} fell by {percent} {date}, their worst day since the merger with {org2}.",
    "{person} wrote \"{work}\" in {place}, where she'd moved with her sister {person2}.",
    "It isn't clear why {org} closed its office in {place}; {person} didn't answer our questions.",
    "Prices rose to {money} {date}, which is {percent} more than the {people} farmers had hoped for.",
    "Mr. {last} and Dr. {last2} met at {time} to sign the contract between {org} and {org2}.",
    "{date_cap}, {number} ships left {place} for {place2} with {thing} on board.",
    "The second largest employer in {place} is {org}, which was founded by {person}.",
    "See https://www.example.com/{slug} or write to {slug}@example.org if you're interested in {thing}.",
    "{person} speaks Portuguese and Turkish, and ran {number} miles {date} to raise {money} for {org}.",
    "Under the Maritime Act, {org} must pay {money} to the {people} families by {time}.",
]


def sentence(rng):
    """One sentence, its blanks filled."""
    pick = rng.choice
    date = pick(DATES)
    return pick(SENTENCES).format(
        person=f"{pick(FIRST)} {pick(LAST)}", person2=f"{pick(FIRST)} {pick(LAST)}", last=pick(LAST), last2=pick(LAST),
        place=pick(PLACES), place2=pick(PLACES), org=pick(ORGS), org2=pick(ORGS), date=date,
        date_cap=date[0].upper() + date[1:], money=pick(MONEY), number=pick(NUMBERS), percent=pick(PERCENTS),
        work=pick(WORKS), people=pick(PEOPLES), thing=pick(THINGS), time=f"{rng.randint(1, 12)}:{rng.randint(10, 59)} p.m.",
        slug=f"{pick(LAST).lower()}-{rng.randint(100, 99999)}",
    )


def texts(count):
    """The texts of so many documents."""
    rng = random.Random(20261123)
    yield from [EINSTEIN, EARTH][:count]
    for _ in range(count - 2):
        text = sentence(rng)
        while len(text) < 440:
            text += " " + sentence(rng)
        yield text


if __name__ == "__main__":
    for number, text in enumerate(texts(int(sys.argv[1]))):
        print(json.dumps({"uuid": f"document-{number}", "text": text, "lang": "en"}))
