"""Random schedules, and how each library has to be asked for the same one.

A schedule is a list of six fields, a field a list of elements, an element a tuple: ("*", step), ("a-b", a, b, step),
("a/n", a, step), ("a", a), ("L", n) for L-n, ("W", n) for nW and 0 for LW, ("#", weekday, n), ("dL", weekday). A step
of 0 is none. Names are only a way to write numbers.
"""

SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY = range(6)
FIRST = (0, 0, 0, 1, 1, 0)
LAST = (59, 59, 23, 31, 12, 7)
NAMES = {
    MONTH: dict(enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)),
    WEEKDAY: dict(enumerate("sun mon tue wed thu fri sat".split())),
}


class CannotSay(Exception):
    """The library's grammar has nothing for this schedule; the argument tells what."""


class Schedule:
    def __init__(self, fields, has_seconds, names):
        self.fields = fields
        self.has_seconds = has_seconds
        self.names = names  # those that were drawn: {(field, number)}

    def kinds(self, field):
        return {element[0] for element in self.fields[field]}

    def is_plain(self):
        """Five fields of numbers, names, ranges, lists and steps: what every cron has."""
        if self.has_seconds:
            return False
        for field in range(6):
            if self.kinds(field) & {"L", "W", "#", "dL"} or any(map(wraps, self.fields[field])):
                return False
        return True

    def has_star(self, field):
        return self.fields[field][0][0] == "*"

    def is_all(self, field):
        return self.fields[field] == [("*", 0)]

    def takes_both(self):
        """A day has to match both day fields, and both restrict it."""
        return (self.has_star(DAY) or self.has_star(WEEKDAY)) and not (self.is_all(DAY) or self.is_all(WEEKDAY))

    def is_full(self, field):
        """Each day matches, though the field may not begin with a star."""
        return len(self.values(field)) == (31 if field == DAY else 7)

    def values(self, field):
        return {value for element in self.fields[field] for value in values_of(field, element)}

    def month_day_never_comes(self):
        """As in: on 30 February, or on Mondays."""
        if self.kinds(DAY) & {"L", "W"}:
            return False
        longest = max({2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31) for month in self.values(MONTH))
        return min(self.values(DAY)) > longest

    def text(self):
        """As pgqueue has it."""
        words = [",".join(self.element(field, element) for element in self.fields[field]) for field in range(6)]
        return " ".join(words if self.has_seconds else words[1:])

    def number(self, field, value):
        if (field, value) in self.names and value in NAMES.get(field, ()):
            return NAMES[field][value]
        return str(value)

    def element(self, field, element):
        kind, *args = element
        step = "/%d" % args[-1] if kind in ("*", "a-b", "a/n") and args[-1] else ""
        if kind == "*":
            return "*" + step
        if kind == "L":
            return "L-%d" % args[0] if args[0] else "L"
        if kind == "W":
            return "%dW" % args[0] if args[0] else "LW"
        first = self.number(field, args[0])
        if kind == "a-b":
            return first + "-" + self.number(field, args[1]) + step
        return first + {"a": "", "a/n": step, "#": "#%d" % args[-1], "dL": "L"}[kind]


def wraps(element):
    return element[0] == "a-b" and element[1] > element[2]


def values_of(field, element):
    """The numbers of an element that has some; 7 is Sunday's 0."""
    kind, *args = element
    if kind not in ("*", "a-b", "a/n", "a"):
        return []
    step = args[-1] or 1 if kind != "a" else 1
    low = FIRST[field] if kind == "*" else args[0]
    high = {"*": LAST[field], "a/n": LAST[field], "a": low}.get(kind, args[1] if kind == "a-b" else low)
    cycle = LAST[field] if field in (MONTH, WEEKDAY) else 1000
    if low > high:
        high += cycle
    values = range(low, high + 1, step)
    return [(value - FIRST[field]) % cycle + FIRST[field] for value in values]


def draw(rng):
    has_seconds = rng.random() < 0.15
    fields = [draw_field(rng, field) for field in range(6)]
    if not has_seconds:
        fields[SECOND] = [("a", 0)]
    if rng.random() < 0.5:
        fields[MONTH] = [("*", 0)]
    if rng.random() < 0.6:
        fields[rng.choice((DAY, WEEKDAY))] = [("*", 0)]
    if rng.random() < 0.1:
        fields[DAY] = draw_special_days(rng)
    if rng.random() < 0.1:
        fields[WEEKDAY] = draw_special_weekdays(rng)
    if rng.random() < 0.05:
        field = rng.choice((MONTH, WEEKDAY))
        fields[field] = [("a-b", *rng.sample(range(FIRST[field], LAST[field] + 1), 2), rng.choice((0, 0, 2)))]
    names = {(field, value) for field in NAMES for value in NAMES[field] if rng.random() < 0.3}
    return Schedule(fields, has_seconds, names)


def draw_field(rng, field):
    low, high = FIRST[field], LAST[field]
    if rng.random() < 0.25:
        return [("*", 0)]
    elements = []
    for _ in range(1 if rng.random() < 0.7 else rng.randint(2, 4)):
        first = rng.randint(low, high)
        last = rng.randint(first, high)
        step = rng.randint(1, min(7 if field == WEEKDAY else 12, high))
        elements.append(rng.choice((
            ("*", step), ("a-b", first, last, 0), ("a-b", first, last, step), ("a/n", first, step), ("a", first),
            ("a", first))))
    return elements


def draw_special_days(rng):
    return [rng.choice((
        ("L", 0), ("L", rng.randint(1, 28)), ("W", 0), ("W", rng.randint(1, 31)), ("a", rng.randint(1, 31))))
            for _ in range(rng.choice((1, 1, 1, 2)))]


def draw_special_weekdays(rng):
    return [rng.choice((
        ("#", rng.randint(0, 6), rng.randint(1, 5)), ("dL", rng.randint(0, 6)), ("a", rng.randint(0, 6))))
            for _ in range(rng.choice((1, 1, 1, 2)))]


def unwrapped(field, elements):
    """Ranges that wrap around, as lists: nobody else has them."""
    result = []
    for element in elements:
        if wraps(element):
            result += [("a", value) for value in sorted(set(values_of(field, element)))]
        else:
            result.append(element)
    return result


def without_short_ranges(field, elements):
    """5-5 as 5, and 59/2 as 59: to some they mean all there is, as ranges that wrap around."""
    return [("a", element[1]) if element[0] == "a-b" and element[1] == element[2] or
            element[0] == "a/n" and element[1] == LAST[field] else element for element in elements]


def numbers(field, element):
    """The element, or if it is one of numbers, those."""
    if element == ("*", 0):
        return [element]
    return [("a", value) for value in dict.fromkeys(values_of(field, element))] or [element]


def for_croniter(schedule):
    """Its text, and whether days have to match both fields: it asks the caller for that. Seconds come last."""
    fields = [without_short_ranges(field, unwrapped(field, schedule.fields[field])) for field in range(6)]
    # Its versions don't agree what 7 is in a range, beside seconds, or as the end of a/n.
    fields[WEEKDAY] = [one for element in fields[WEEKDAY] for one in numbers(WEEKDAY, element)]
    kinds = schedule.kinds(DAY) | schedule.kinds(WEEKDAY)
    if "W" in kinds or any(element[0] == "L" and element[1] for element in fields[DAY]):
        raise CannotSay("W and L-n")
    if kinds & {"#", "dL"} and (len(fields[WEEKDAY]) > 1 or not schedule.is_all(DAY)):
        raise CannotSay("nth weekdays in a list or beside a day of month")
    if "L" in kinds and len(fields[DAY]) > 1:
        raise CannotSay("L in a list")
    if not schedule.has_star(DAY) and not schedule.has_star(WEEKDAY):
        if schedule.is_full(DAY) or schedule.is_full(WEEKDAY):
            fields[DAY] = fields[WEEKDAY] = [("*", 0)]  # to it a field that means each day is a star
        elif schedule.month_day_never_comes():
            fields[DAY] = [("*", 0)]  # it doesn't find the other days if it can't find one of these
    words = []
    for field in range(1, 6):
        words.append(",".join("l%d" % element[1] if element[0] == "dL" else schedule.element(field, element)
                              for element in fields[field]))
    if schedule.has_seconds:
        words.append(",".join(schedule.element(SECOND, element) for element in fields[SECOND]))
    return " ".join(words), schedule.takes_both()


def for_cron_parser(schedule):
    kinds = schedule.kinds(DAY) | schedule.kinds(WEEKDAY)
    if "W" in kinds or any(element[0] == "L" and element[1] for element in schedule.fields[DAY]):
        raise CannotSay("W and L-n")
    if "#" in kinds and len(schedule.fields[WEEKDAY]) > 1:
        raise CannotSay("nth weekdays in a list")
    if schedule.takes_both():
        raise CannotSay("days that match both fields")
    fields = []
    for field in range(6):  # a number may not come twice
        listed = [one for element in schedule.fields[field] for one in numbers(field, element)]
        whole = len(schedule.fields[field]) == 1 and field != WEEKDAY
        star = schedule.has_star(field) and schedule.is_full(field) and field in (DAY, WEEKDAY)
        fields.append(schedule.fields[field] if whole or star else list(dict.fromkeys(listed)))
    return text_of_full_stars(Schedule(fields, schedule.has_seconds, schedule.names)), False


def for_croner(schedule):
    fields = list(schedule.fields)
    if any(element[0] == "L" and element[1] for element in fields[DAY]):
        raise CannotSay("L-n")
    if ("W", 0) in fields[DAY] and len(fields[DAY]) > 1:
        raise CannotSay("LW in a list")
    for field in range(6):
        fields[field] = [("a-b", element[1], LAST[field], element[2]) if element[0] == "a/n" else element
                         for element in fields[field]]
    fields = [without_short_ranges(field, fields[field]) for field in range(6)]
    text = text_of_full_stars(Schedule(fields, schedule.has_seconds, schedule.names))
    if schedule.takes_both():
        start, weekday = text.rsplit(" ", 1)
        text = start + " +" + weekday
    return text, False


def text_of_full_stars(schedule):
    """The two take a field for a star only if it is nothing but one; in others a list with a star means each day."""
    fields = [unwrapped(field, schedule.fields[field]) for field in range(6)]
    if not schedule.takes_both():
        for field in (DAY, WEEKDAY):
            if schedule.has_star(field) and schedule.is_full(field):
                fields[field] = [("*", 0)]
    return Schedule(fields, schedule.has_seconds, schedule.names).text()
