"""Texts to speak: short sentences of novels, and everyday phrases from templates.

    python recipes/english/texts.py OUT --books BOOKS.txt.gz [--sentences 24000] [--phrases 9000]
        [--words 2,15] [--seed 0]

writes OUT/sentences.txt and OUT/phrases.txt, each with a text on each line. BOOKS has a sentence on
each line, plain or gzip.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from asr import files
from asr.errors import UserError
from asr.pipeline.prepare_cli import main

DIGITS = "zero one two three four five six seven eight nine".split()
SMALL = [
    *DIGITS,
    *"ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(),
]
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NAMES = (
    "Adam Alice Amy Andrew Anna Ben Carol Charles Chris Daniel David Emily Emma Frank George Grace "
    "Hannah Harry Helen Henry Jack James Jane John Julia Kate Kevin Laura Linda Lisa Lucy Maria "
    "Mark Martin Mary Michael Nancy Oliver Paul Peter Rachel Robert Sam Sarah Simon Susan Tom"
).split()
PLACES = (
    "London Paris Boston Chicago Berlin Rome Madrid Tokyo Sydney Dublin Texas California Canada "
    "India China Japan Germany France Italy Spain England Scotland Africa America Europe"
).split()
ROOMS = "kitchen bedroom bathroom garage garden hall office|living room|dining room".split("|")
ROOMS = ROOMS[0].split() + ROOMS[1:]
DEVICES = (
    "light lights lamp fan heater television radio computer music printer camera alarm "
    "phone oven door window"
).split()
FOODS = (
    "bread butter cheese milk eggs apples bananas oranges potatoes tomatoes onions rice chicken "
    "fish coffee tea sugar salt pepper soup salad cake chocolate water juice lemons carrots"
).split()
PEOPLE = (
    "my mother|my father|my sister|my brother|my wife|my husband|my friend|the doctor|the dentist|"
    "the teacher|the manager|the office|the school|the bank|the neighbors|our customers|the team"
).split("|")
THINGS = (
    "keys wallet glasses bag coat umbrella ticket passport book letter notebook phone laptop "
    "charger bicycle car shoes watch"
).split()
ADJECTIVES = (
    "good bad great new old big small cold hot warm nice easy hard busy late early quiet loud "
    "happy sad tired hungry clean dirty cheap expensive beautiful difficult important interesting"
).split()
WEATHER = "sunny cloudy windy rainy snowy foggy cold warm hot stormy".split()
ACTIONS = (
    "play stop|go to school|go to work|read a book|watch a movie|listen to music|cook dinner|"
    "clean the house|wash the dishes|take the bus|take a walk|drive to town|call a taxi|"
    "learn English|play football|play the piano|play games|go shopping|go swimming|make some tea|"
    "have lunch|have breakfast|send an email|write a letter|buy a new computer|visit the museum|"
    "see the doctor|pay the bill|open a window|close the door|feed the dog|do my homework|"
    "travel by train|take a picture|ask a question|change the subject|fix the car|paint the fence"
).split("|")
COMMANDS = (
    "turn on the {device}|turn off the {device}|turn the {device} on|turn the {device} off|"
    "turn on the {device} in the {room}|turn off the {device} in the {room}|"
    "set the temperature to {number} degrees|set a timer for {number} minutes|"
    "set an alarm for {time}|wake me up at {time}|remind me to {action} at {time}|"
    "remind me to {action} on {day}|add {food} to the shopping list|"
    "add {food} and {food} to my list|remove {food} from the list|call {name}|call {person}|"
    "send a message to {name}|play some music|play the next song|stop the music|pause|resume|"
    "next|previous|repeat|volume up|volume down|make it louder|make it quieter|go back|go home|"
    "open the {thing} app|open the {device}|close the {device}|start the {device}|"
    "stop the {device}|show me the way to {place}|how do I get to {place}|take me to the {room}|"
    "navigate to {place}|read my messages|delete the last message|save the file|undo|cancel|"
    "lock the door|unlock the door|increase the brightness to {number} percent|"
    "dim the lights to {number} percent|move forward {number} steps|turn left|turn right|"
    "go {number} miles north|read line {number}|go to page {number}|search for {thing}|"
    "spell {word}|new paragraph|new line|select all|copy and paste|scroll down|scroll up"
).split("|")
QUESTIONS = (
    "what time is it|what is the time in {place}|what day is it today|what is the date|"
    "how is the weather in {place}|will it be {weather} on {day}|is it {weather} outside|"
    "where is my {thing}|where are {person}|have you seen my {thing}|how much is the {thing}|"
    "how many {food} do we have|do we need {food}|can you {action}|could you {action} please|"
    "would you like some {food}|shall we {action}|why do you {action}|when will you {action}|"
    "who is {name}|who wants to {action}|how old are you|what is your name|where are you from|"
    "are you from {place}|did you {action} yesterday|is {name} {adjective}|"
    "what is {number} plus {number}|what is {number} times {number}|"
    "what is {number} minus {number}|how far is it to {place}|when is the next train to {place}|"
    "which one do you like|what are you doing|how are you|how are you today|what do you think"
).split("|")
STATEMENTS = (
    "I would like to {action}|I want to {action}|I like to {action}|I do not like to {action}|"
    "I have to {action} on {day}|we can {action} tomorrow|{name} likes to {action}|"
    "{name} and {name} are going to {place}|my {thing} is {adjective}|the {thing} is {adjective}|"
    "this {thing} is too {adjective}|it is {weather} in {place} today|it was {adjective}|"
    "I left my {thing} in the {room}|please bring your {thing}|thank you very much|"
    "thanks for the {food}|you are welcome|see you on {day}|see you at {time}|good morning|"
    "good night {name}|hello {name}|my name is {name}|I am from {place}|I live in {place}|"
    "I will be there at {time}|the meeting is on {day} at {time}|the meeting is on {date}|"
    "the train to {place} leaves at {time}|my birthday is on {date}|"
    "it costs {number} dollars|it costs {number} dollars and {number} cents|"
    "it weighs {number} pounds|I need {number} {food}|I am {number} years old|"
    "she was born in {year}|he lives at {number} {name} Street|the number is {digits}|"
    "my phone number is {digits}|the code is {digits}|flight {digits} to {place}|"
    "room {number} on the {ordinal} floor|{name} finished {ordinal}|it is {time}|"
    "today is {date}|on the {ordinal} of {month} {year}|about {number} percent|"
    "{person} called at {time}|{person} said that the {thing} was {adjective}|"
    "there are {number} people in the {room}|I am {adjective}|we are {adjective} and {adjective}"
).split("|")
Draw = random.Random


def spoken_number(n: int) -> str:
    """`n`, 0 to 999999, in words."""
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f" {SMALL[n % 10]}" if n % 10 else "")
    if n < 1000:
        rest = f" {spoken_number(n % 100)}" if n % 100 else ""
        return f"{SMALL[n // 100]} hundred{rest}"
    rest = f" {spoken_number(n % 1000)}" if n % 1000 else ""
    return f"{spoken_number(n // 1000)} thousand{rest}"


def number(draw: Draw) -> str:
    """A number below 100 in six of ten cases, otherwise a larger one."""
    limit = draw.choice([20, 100, 100, 100, 100, 100, 1000, 1000, 10_000, 100_000])
    return spoken_number(draw.randrange(limit))


def digits(draw: Draw) -> str:
    """One to ten digits; half of the texts say "oh" for zero."""
    zero = draw.choice(["zero", "oh"])
    return " ".join(draw.choice([zero, *DIGITS[1:]]) for _ in range(draw.randint(1, 10)))


def time_of_day(draw: Draw) -> str:
    """Such as "half past two", "seven thirty pm", "ten o'clock"."""
    hour, minute = spoken_number(draw.randint(1, 12)), spoken_number(draw.randrange(10, 60))
    form = draw.choice(
        [
            "{hour} o'clock",
            "{hour} {minute}",
            "half past {hour}",
            "a quarter to {hour}",
            "a quarter past {hour}",
            "ten to {hour}",
            "{hour} in the morning",
            "{hour} in the evening",
            "{hour} {minute} p m",
            "{hour} {minute} a m",
            "noon",
            "midnight",
        ]
    )
    return form.format(hour=hour, minute=minute)


def year(draw: Draw) -> str:
    if draw.random() < 0.3:
        rest = draw.randint(0, 30)
        return "two thousand" + (f" and {spoken_number(rest)}" if rest else "")
    return (
        f"{draw.choice(['eighteen', 'nineteen', 'twenty'])} {spoken_number(draw.randint(10, 99))}"
    )


def date(draw: Draw) -> str:
    form = draw.choice(
        [
            "{day} {month} {ordinal}",
            "{month} {ordinal}",
            "the {ordinal} of {month}",
            "{month} {ordinal} {year}",
            "{day} the {ordinal}",
        ]
    )
    return fill(form, draw)


def letters(draw: Draw) -> str:
    return " ".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 6)))


SLOTS: dict[str, Callable[[Draw], str]] = {
    "number": number,
    "digits": digits,
    "time": time_of_day,
    "year": year,
    "date": date,
    "word": letters,
}
SLOTS |= {
    name: lambda draw, words=words: draw.choice(words)
    for name, words in {
        "name": NAMES,
        "place": PLACES,
        "room": ROOMS,
        "device": DEVICES,
        "food": FOODS,
        "person": PEOPLE,
        "thing": THINGS,
        "adjective": ADJECTIVES,
        "weather": WEATHER,
        "action": ACTIONS,
        "month": MONTHS,
        "day": DAYS,
        "ordinal": ORDINALS,
    }.items()
}


def fill(template: str, draw: Draw) -> str:
    """`template` with a drawn value for each {slot}."""
    return re.sub(r"\{(\w+)\}", lambda slot: SLOTS[slot[1]](draw), template)


def phrases_of(seed: int) -> Iterator[str]:
    """Everyday phrases without end, in words: numbers are spelled out."""
    draw = random.Random(seed)
    kinds = [COMMANDS, QUESTIONS, STATEMENTS, ["{digits}"], ["{number}"], ["{date}"], ["{time}"]]
    while True:
        templates = draw.choices(kinds, weights=[5, 4, 6, 2, 2, 1, 1])[0]
        yield fill(draw.choice(templates), draw)


def sentences_of(books: Path, words: range, seed: int) -> list[str]:
    """The sentences of `books` with a number of `words` in a random order, each once."""
    opened = gzip.open if books.suffix == ".gz" else open
    try:
        with opened(books, "rt", encoding="utf-8") as file:
            kept = {line.strip(): None for line in file if suits(line, words)}
    except OSError as error:
        raise UserError(f"{books}: cannot be read: {error}") from None
    order = list(kept)
    random.Random(seed).shuffle(order)
    return order


def suits(line: str, lengths: range) -> bool:
    """Whether a line is a sentence to speak; abbreviations and odd characters are not."""
    words = line.split()
    plain = re.fullmatch(r"""[A-Za-z ,.;:!?'"“”‘’—-]+""", line.strip())
    whole = not words or words[-1] not in ("Mr.", "Mrs.", "Dr.")
    return bool(plain) and whole and len(words) in lengths


def prepare(out: Path, books: Path, sentences: int, phrases: int, words: str, seed: int) -> None:
    """Write OUT/sentences.txt and OUT/phrases.txt; raises `UserError` for a wrong `words`."""
    limits = re.fullmatch(r"(\d+),(\d+)", words)
    if limits is None or int(limits[1]) > int(limits[2]):
        raise UserError(f"--words: {words!r} is not FEWEST,MOST, such as 2,15")
    lengths = range(int(limits[1]), int(limits[2]) + 1)
    chosen = sentences_of(books, lengths, seed)[:sentences]
    files.write(out / "sentences.txt", "\n".join(chosen) + "\n")
    spoken = list(islice(phrases_of(seed), phrases))
    files.write(out / "phrases.txt", "\n".join(spoken) + "\n")
    print(f"{len(chosen)} sentences, {len(spoken)} phrases")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--books": {"type": Path, "required": True, "help": "a sentence on each line"},
            "--sentences": {"type": int, "default": 24000, "help": "how many of the novels"},
            "--phrases": {"type": int, "default": 9000, "help": "how many everyday phrases"},
            "--words": {"default": "2,15", "help": "FEWEST,MOST words of a sentence (%(default)s)"},
            "--seed": {"type": int, "default": 0, "help": "another one gives others (0)"},
        },
    )
