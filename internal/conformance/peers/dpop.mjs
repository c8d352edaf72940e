// The package dpop makes proofs with every algorithm that it has, and wrong ones, for
// logins at an issuer of ours and calls of an API of ours, which ask for nonces.
//
//	node dpop.mjs ISSUER RESOURCE

import * as DPoP from "dpop";

import { say } from "./say.mjs";

const [issuer, resource] = process.argv.slice(2);
const login = `${issuer}/auth/login`;

// send returns the answer, and tries again with the nonce that it is asked for.
async function send(pair, method, url, token, { htm = method, htu = url, ath = token, scheme = "DPoP", body } = {}) {
  let response;
  for (let nonce, tries = 0; tries < 2; tries++) {
    const headers = { dpop: await DPoP.generateProof(pair, htu, htm, nonce, ath) };
    if (token) {
      headers.authorization = `${scheme} ${token}`;
    }
    if (body) {
      headers["content-type"] = "application/json";
    }
    response = await fetch(url, { method, headers, body });
    nonce = response.headers.get("dpop-nonce");
    if (response.status !== 401 || !response.headers.get("www-authenticate")?.includes("use_dpop_nonce")) {
      break;
    }
  }
  return response;
}
const body = JSON.stringify({ username: "alice", password: "an obviously fake password" });
const reason = async (response) => response.ok ? response.status : (await response.json()).reason;

for (const alg of ["ES256", "Ed25519", "RS256", "PS256"]) {
  const pair = await DPoP.generateKeyPair(alg);
  const tokens = await (await send(pair, "POST", login, undefined, { body })).json();
  const { cnf } = JSON.parse(Buffer.from(tokens.access_token.split(".")[1], "base64url"));
  say(alg, {
    type: tokens.token_type, bound: cnf.jkt === await DPoP.calculateThumbprint(pair.publicKey),
    status: await reason(await send(pair, "GET", resource, tokens.access_token)),
  });
}

const pair = await DPoP.generateKeyPair("ES256");
const { access_token: token } = await (await send(pair, "POST", login, undefined, { body })).json();
for (const [name, changes] of Object.entries({
  "another method": { htm: "POST" },
  "another path": { htu: `${resource}/more` },
  "another host": { htu: "http://127.0.0.1:1/api" },
  "the URL in another spelling": { htu: resource.replace("http:", "HTTP:") + "?page=2" },
  "another token": { ath: "another token" },
  "no token": { ath: "" },
  "as a bearer token": { scheme: "Bearer" },
})) {
  say(name, { answer: await reason(await send(pair, "GET", resource, token, changes)) });
}
