// jose verifies an access token of ours with the keys that we publish.
//
//	node jose-verifies.mjs ISSUER AUDIENCE TOKEN

import { calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } from "jose";

import { fails, forged, say } from "./say.mjs";

const [issuer, audience, token] = process.argv.slice(2);
const metadata = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
const verify = (t, changes = {}) => jwtVerify(t, keys, {
  issuer, audience, typ: "at+jwt", requiredClaims: ["sub", "client_id", "iat", "exp", "jti", "sid"], ...changes,
});

const { payload, protectedHeader } = await verify(token);
say("verified", { alg: protectedHeader.alg, sub: payload.sub, client: payload.client_id });
const published = await (await fetch(metadata.jwks_uri)).json();
const named = published.keys.filter((k) => k.kid === protectedHeader.kid);
say("key", { count: named.length, thumbprint: (await calculateJwkThumbprint(named[0])) === protectedHeader.kid });
say("forged", { code: await fails(verify(forged(token))) });
say("altered", { code: await fails(verify(forged(token, { sub: "mallory" }))) });
say("another audience", { code: await fails(verify(token, { audience: "invoices" })) });
say("another issuer", { code: await fails(verify(token, { issuer: "https://id.example.com" })) });
