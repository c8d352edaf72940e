// The flow against a server at the URL in the first argument, whose access tokens
// live for two seconds:
//
//	node flow.mjs http://127.0.0.1:8080
//
// It prints what it saw, a line of JSON each.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import axios from "axios";

import { createAPI, createMemory } from "./api.mjs";

const baseURL = process.argv[2];
const say = (step, seen) => console.log(JSON.stringify({ step, ...seen }));

const storage = createMemory();
let expired = 0;
const client = createAPI({ baseURL, storage, sessionExpired: () => expired++ });

await client.login("alice", "correct horse battery staple");
const first = storage.get();
const me = await client.api.get("/api/me");
say("login", { status: me.status, subject: me.data.sub });

// 200 requests with a token that has expired.
await untilExpired(first);
const answers = await Promise.all(Array.from({ length: 200 }, () => client.api.get("/api/me")));
assert.notEqual(storage.get().refresh_token, first.refresh_token, "the refresh token was rotated");
say("storm", { answered: answers.filter((answer) => answer.status === 200).length });

// A permission that is missing is no reason to refresh.
const forbidden = await caught(client.api.get("/api/admin"));
say("forbidden", { status: forbidden.response.status, reason: forbidden.response.data.reason });

// What the server says no more of, it says why.
const last = storage.get();
await client.logout();
assert.equal(storage.get(), null);
const revoked = await caught(axios.post(`${baseURL}/auth/refresh`, { refreshToken: last.refresh_token }));
say("logout", { status: revoked.response.status, reason: revoked.response.data.reason });

// Without a session, requests go out without a token, and nobody is asked for one.
const anonymous = await caught(client.api.get("/api/me"));
say("anonymous", { status: anonymous.response.status, reason: anonymous.response.data.reason });

// A session that the server has ended is told once, and all who wait are refused.
await client.login("alice", "correct horse battery staple");
await axios.post(`${baseURL}/auth/logout`, { refresh_token: storage.get().refresh_token });
await untilExpired(storage.get());
const refused = await Promise.all(Array.from({ length: 20 }, () => caught(client.api.get("/api/me"))));
say("ended", { expired, refused: refused.length, kept: storage.get() !== null });

// A server that does not answer ends nothing.
await client.login("alice", "correct horse battery staple");
const elsewhere = createAPI({ baseURL: "http://127.0.0.1:1", storage, sessionExpired: () => expired++ });
await caught(elsewhere.refresh());
say("outage", { expired, kept: storage.get() !== null });

async function untilExpired({ access_token }) {
  const { exp } = JSON.parse(Buffer.from(access_token.split(".")[1], "base64url"));
  await sleep(exp * 1000 - Date.now() + 100);
}

async function caught(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}
