// A driver of graphile-worker: add one job, get it, complete it, by its own statements.
//
// Its worker does the same three statements and more around them. It speaks as loop.py does; its
// modules are found through NODE_PATH.
"use strict";

const readline = require("readline");
const { Client } = require("pg");
const { makeWorkerUtils } = require("graphile-worker");
const lib = require("graphile-worker/dist/lib");
const { makeWithPgClientFromClient } = require("graphile-worker/dist/helpers");
const { batchGetJobs } = require("graphile-worker/dist/sql/getJobs");
const { batchCompleteJobs } = require("graphile-worker/dist/sql/completeJobs");

const [, , dsn, number] = process.argv;
const given = Object.fromEntries(dsn.split(" ").map((pair) => pair.split("=")));
const database = {
    host: given.host, port: Number(given.port), user: given.user, database: given.dbname,
};
const now = () => Number(process.hrtime.bigint()) / 1000;

async function main() {
    const client = new Client(database);
    await client.connect();
    const withPgClient = lib.makeEnhancedWithPgClient(makeWithPgClientFromClient(client));
    const address = `postgres:///${given.dbname}?host=${given.host}&port=${given.port}&user=${given.user}`;
    if (number === "setup") {
        const utils = await makeWorkerUtils({ connectionString: address });
        await utils.migrate();
        await utils.release();
        await client.end();
        return;
    }
    const options = lib.processSharedOptions({ connectionString: address });
    const addJob = require("graphile-worker/dist/helpers").makeAddJob(options, withPgClient);
    const tasks = { copy: async () => {} };
    const payload = { source_name: "elasticsearch", target_name: "snowflake" };
    const worker = `driver-${number}`;

    async function item() {
        await addJob("copy", payload);
        let jobs = [];
        while (jobs.length === 0) {
            jobs = await batchGetJobs(options, withPgClient, tasks, worker, null, 1);
        }
        const called = now();
        await batchCompleteJobs(options, withPgClient, worker, jobs);
        return called;
    }

    process.stdout.write("ready\n");
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const calls = [], items = [], started = now(), ends = started + Number(line) * 1e6;
        let last = started;
        while (last < ends) {
            const called = await item();
            const done = now();
            calls.push(Math.round(called - last));
            items.push(Math.round(done - last));
            last = done;
        }
        process.stdout.write(JSON.stringify({ calls, items, seconds: (last - started) / 1e6 }) + "\n");
    }
    await client.end();
}

main().catch((error) => { console.error(error); process.exit(1); });
