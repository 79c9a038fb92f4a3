// ask.js LIBRARY: the answers of cron-parser or croner. Lines of "schedule<TAB>both<TAB>zone<TAB>instant<TAB>count" in,
// due times or an error out.
'use strict';

const library = process.argv[2];

const askers = {
    'cron-parser': () => {
        const { CronExpressionParser } = require('cron-parser');
        return (text, zone, instant, count) => {
            const due = CronExpressionParser.parse(text, { currentDate: new Date(instant * 1000), tz: zone });
            return Array.from({ length: count }, () => Math.floor(due.next().getTime() / 1000));
        };
    },
    croner: () => {
        const { Cron } = require('croner');
        return (text, zone, instant, count) => {
            const due = new Cron(text, { timezone: zone, paused: true });
            return due.nextRuns(count, new Date(instant * 1000)).map((date) => Math.floor(date.getTime() / 1000));
        };
    },
};

const ask = askers[library]();
const answers = [];
for (const line of require('fs').readFileSync(0, 'utf8').split('\n')) {
    if (line === '') continue;
    const [text, , zone, instant, count] = line.split('\t');
    try {
        answers.push(ask(text, zone, Number(instant), Number(count)).join(' '));
    } catch (error) {
        answers.push('error ' + String(error.message).replace(/\n/g, ' '));
    }
}
process.stdout.write(answers.join('\n') + '\n');
