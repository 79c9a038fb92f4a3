"""pgqueue's due times beside those of croniter, cron-parser and croner, on random schedules away from clock changes.

compare.py DRIVER [--count N] [--seed N] [--without LIBRARY ...]

Each library is asked in its own dialect (expressions.py). Plain schedules must have the same due times with croniter,
but for one fault of its that is made sure of each time; others, and all with the other libraries, must in 99 of 100
cases. Each kind of disagreement is named and counted. The exit status tells.
"""

import argparse
import bisect
import collections
import datetime
import os
import random
import subprocess
import sys
import tempfile
import zoneinfo

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

# pylint: disable=wrong-import-position
import expressions  # noqa: E402

DAY = 86400
FROM, TO = 946684800, 2082758400  # 2000 to 2036: dateutil knows no changes after 2037
RESULTS = 4
LIBRARIES = {
    "croniter": ([sys.executable, os.path.join(HERE, "ask_croniter.py")], expressions.for_croniter),
    "cron-parser": (["node", os.path.join(HERE, "ask.js"), "cron-parser"], expressions.for_cron_parser),
    "croner": (["node", os.path.join(HERE, "ask.js"), "croner"], expressions.for_croner),
}
ZONES = 6 * ("UTC",) + (
    "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "America/Phoenix", "Africa/Lagos", "Pacific/Kiritimati",
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Sydney", "Pacific/Chatham")


class Changes:
    """The days on which a zone's clock changes, by looking once a day."""

    def __init__(self, name):
        zone = zoneinfo.ZoneInfo(name)
        offset = None
        self.days = []
        for at in range(FROM - 2 * DAY, TO + 3 * 366 * DAY, DAY):
            before, offset = offset, datetime.datetime.fromtimestamp(at, zone).utcoffset()
            if before is not None and offset != before:
                self.days.append(at)

    def near(self, at):
        """Whether there is one in the two days around."""
        index = bisect.bisect_left(self.days, at - 2 * DAY)
        return index < len(self.days) and self.days[index] < at + 3 * DAY

    def horizon(self, at):
        """Until when due times can be compared."""
        index = bisect.bisect_left(self.days, at)
        return self.days[index] - 2 * DAY if index < len(self.days) else float("inf")


Case = collections.namedtuple("Case", "schedule zone instant horizon")


def draw_cases(count, seed):
    rng = random.Random(seed)
    changes = {name: Changes(name) for name in set(ZONES)}
    cases = []
    while len(cases) < count:
        zone = rng.choice(ZONES)
        instant = rng.randrange(FROM, TO)
        if not changes[zone].near(instant):
            cases.append(Case(expressions.draw(rng), zone, instant, changes[zone].horizon(instant)))
    return cases


class Running:
    """A program that reads questions from one file and writes answers to another."""

    def __init__(self, command, questions):
        self.command = command
        self.questions = tempfile.TemporaryFile("w+")
        self.answers = tempfile.TemporaryFile("w+")
        self.questions.write("".join(question + "\n" for question in questions))
        self.questions.seek(0)
        self.count = len(questions)
        self.process = subprocess.Popen(command, stdin=self.questions, stdout=self.answers)

    def result(self):
        if self.process.wait() != 0:
            sys.exit("%s ended with %d" % (" ".join(self.command), self.process.returncode))
        self.answers.seek(0)
        answers = self.answers.read().split("\n")[:-1]
        if len(answers) != self.count:
            sys.exit("%s answered %d of %d" % (" ".join(self.command), len(answers), self.count))
        return answers


def due_times(answer, horizon):
    return [int(word) for word in answer.split() if int(word) < horizon]


def goes_behind_the_first(case, theirs, ours):
    """croniter looks for day 31 of a month that has 28, arrives at 3 March, and goes on from there."""
    missed = set(due_times(ours, case.horizon)) - set(due_times(theirs, case.horizon))
    days = case.schedule.values(expressions.DAY)
    local_days = [datetime.datetime.fromtimestamp(at, zoneinfo.ZoneInfo(case.zone)) for at in missed]
    before = [(day.replace(day=1) - datetime.timedelta(days=1)).day for day in local_days]
    return bool(missed) and all(day.day <= 3 and max(days, default=0) > last for day, last in zip(local_days, before))


def explain(name, case, theirs, ours, ask_again):
    """The known reason for a disagreement, or None."""
    if theirs.startswith("error"):
        rare = "failed to find next date" in theirs or "loop limit" in theirs
        may = name != "croniter" or not case.schedule.is_plain()
        return "gives up on days that are rare" if rare and may else None
    if name == "croniter" and goes_behind_the_first(case, theirs, ours) and ask_again(case, ours):
        return "steps over the first days of a month; asked for each on its own, it has them all"
    return None


class Tally:
    def __init__(self):
        self.same = 0
        self.named = collections.Counter()
        self.unnamed = []

    def total(self):
        return self.same + sum(self.named.values()) + len(self.unnamed)


def asker(name):
    """Tells whether each of some due times is the next one when a library is asked just before it."""
    command, dialect = LIBRARIES[name]

    def ask(case, ours):
        due = due_times(ours, case.horizon)
        words, both = dialect(case.schedule)
        answers = Running(command, ["%s\t%d\t%s\t%d\t1" % (words, both, case.zone, at - 1) for at in due]).result()
        return answers == [str(at) for at in due]

    return ask


def compare(name, cases, ours, asked, answers, silent):
    """Prints what came out; True: good enough."""
    tallies = {"plain": Tally(), "others": Tally()}
    nothing = 0
    for index, theirs in zip(asked, answers):
        case = cases[index]
        horizon = case.horizon
        tally = tallies["plain" if case.schedule.is_plain() else "others"]
        if ours[index].startswith("error"):
            reason = None
            if theirs.startswith("error") or theirs == "":
                tally.same += 1
                continue
        elif not theirs.startswith("error") and due_times(theirs, horizon) == due_times(ours[index], horizon):
            if due_times(theirs, horizon):
                tally.same += 1
            else:
                nothing += 1
            continue
        else:
            reason = explain(name, case, theirs, ours[index], asker(name))
        if reason:
            tally.named[reason] += 1
        else:
            tally.unnamed.append((case, theirs, ours[index]))
    print("%s: %d cases asked, %d beyond its grammar, %d without a due time before the zone's next change" % (
        name, len(asked), sum(silent.values()), nothing))
    for reason, count in sorted(silent.items()):
        print("    beyond its grammar: %d, %s" % (count, reason))
    good = True
    for kind, tally in tallies.items():
        share = 100.0 * tally.same / max(1, tally.total())
        print("    %s: %d compared, %d agree (%.3f %%)" % (kind, tally.total(), tally.same, share))
        for reason, count in sorted(tally.named.items()):
            print("        %d: %s" % (count, reason))
        if tally.unnamed:
            print("        %d: for no known reason, such as" % len(tally.unnamed))
        for case, theirs, our in tally.unnamed[:5]:
            print("            %s | %s | %s\n                ours   %s\n                theirs %s" % (
                case.schedule.text(), case.zone, local(case, case.instant), text(case, our), text(case, theirs)))
        must_be_all = name == "croniter" and kind == "plain"
        good = good and tally.total() > 0 and (not tally.unnamed if must_be_all else share >= 99)
    return good


def local(case, at):
    return datetime.datetime.fromtimestamp(at, zoneinfo.ZoneInfo(case.zone)).strftime("%F %T %a")


def text(case, answer):
    return answer if answer.startswith("error") else ", ".join(local(case, int(word)) for word in answer.split())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--without", action="append", default=[], choices=list(LIBRARIES))
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print("%d schedules, seed %d" % (options.count, seed))
    cases = draw_cases(options.count, seed)
    ours = Running([options.driver], ["%s\t%s\t%d\t%d" % (case.schedule.text(), case.zone, case.instant, RESULTS)
                                      for case in cases]).result()
    # The only thing that we may refuse is a day that never comes, and the others have to know none either.
    refused = [index for index, answer in enumerate(ours) if answer.startswith("error")]
    wrongly = [index for index in refused if "never comes" not in ours[index]]
    print("%d never come" % len(refused))
    for index in wrongly[:5]:
        print("FAILED: %s: %s" % (cases[index].schedule.text(), ours[index]))
    running = {}
    for name, (command, dialect) in LIBRARIES.items():
        if name in options.without:
            continue
        asked, questions, silent = [], [], collections.Counter()
        for index, case in enumerate(cases):
            try:
                words, both = dialect(case.schedule)
            except expressions.CannotSay as reason:
                silent[str(reason)] += 1
                continue
            asked.append(index)
            questions.append("%s\t%d\t%s\t%d\t%d" % (words, both, case.zone, case.instant, RESULTS))
        running[name] = (Running(command, questions), asked, silent)
    good = not wrongly
    for name, (process, asked, silent) in running.items():
        verdict = compare(name, cases, ours, asked, process.result(), silent)
        print("%s: %s" % (name, "ok" if verdict else "FAILED"))
        good = good and verdict
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
