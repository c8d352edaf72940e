// An issuer that is jose alone: a JWK Set, tokens of all algorithms, and what it can
// make besides tokens. It prints its URL, and ends with its standard input.
//
//	GET /jwks    the public keys
//	GET /tokens  [{"name", "token", "secret" in base64url or null}]

import { createServer } from "node:http";
import { EncryptJWT, FlattenedSign, GeneralSign, SignJWT, UnsecuredJWT, exportJWK, generateKeyPair, generateSecret } from "jose";

const keys = [];
const tokens = [];
const claims = { scope: "api:read", client_id: "app", sid: "s-1" };

let issuer;

const build = (C) => new C(claims).setIssuer(issuer).setAudience("orders").setSubject("alice").setJti("j-1").setIssuedAt().setExpirationTime("15m");

async function issue() {
  let last;
  for (const alg of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]) {
    const pair = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(pair.publicKey)), kid: `key-${alg}`, alg, use: "sig" });
    tokens.push({ name: alg, token: await build(SignJWT).setProtectedHeader({ alg, typ: "at+jwt", kid: `key-${alg}` }).sign(pair.privateKey) });
    if (alg === "ES256") {
      last = pair.privateKey;
    }
  }
  const secrets = {};
  for (const alg of ["HS256", "HS384", "HS512"]) {
    const secret = Buffer.from(await exportJWK(await generateSecret(alg, { extractable: true })).then((k) => k.k), "base64url");
    secrets[alg] = secret;
    tokens.push({ name: alg, secret: secret.toString("base64url"), token: await build(SignJWT).setProtectedHeader({ alg, typ: "at+jwt" }).sign(secret) });
  }
  const header = { alg: "ES256", typ: "at+jwt", kid: "key-ES256" };
  const add = (name, token) => tokens.push({ name, token: typeof token === "string" ? token : JSON.stringify(token) });
  const [, payload] = tokens.find((t) => t.name === "ES256").token.split(".");
  const bytes = Buffer.from(payload, "base64url");
  add("unsecured", build(UnsecuredJWT).encode());
  add("encrypted", await build(EncryptJWT).setProtectedHeader({ alg: "dir", enc: "A256GCM" }).encrypt(await generateSecret("A256GCM")));
  add("flattened", await new FlattenedSign(bytes).setProtectedHeader(header).sign(last));
  add("general", await new GeneralSign(bytes).addSignature(last).setProtectedHeader(header).sign());
  const raw = await new FlattenedSign(bytes).setProtectedHeader({ ...header, b64: false, crit: ["b64"] }).sign(last);
  add("unencoded payload", `${raw.protected}.${payload}.${raw.signature}`);
  add("DPoP proof", await build(SignJWT).setProtectedHeader({ ...header, typ: "dpop+jwt" }).sign(last));
  add("expired", await build(SignJWT).setProtectedHeader(header).setIssuedAt("2 hours ago").setExpirationTime("1 hour ago").sign(last));
  add("not yet valid", await build(SignJWT).setProtectedHeader(header).setNotBefore("5 minutes").sign(last));
  add("of another key", await build(SignJWT).setProtectedHeader(header).sign((await generateKeyPair("ES256")).privateKey));
}

const server = createServer((request, response) => {
  const document = { "/jwks": { keys }, "/tokens": tokens }[request.url];
  response.writeHead(document ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(document ?? {}));
});
server.listen(0, "127.0.0.1", async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  await issue();
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit());
