// openid-client uses all endpoints of ours.
//
//	node openid-client.mjs ISSUER RESOURCE REDIRECT_URI SECRET

import * as client from "openid-client";

import { consent, fails, say } from "./say.mjs";

const [issuer, resource, redirectURI, secret] = process.argv.slice(2);
const options = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };
const spa = await client.discovery(new URL(issuer), "spa", undefined, client.None(), options);
const app = await client.discovery(new URL(issuer), "app", undefined, client.ClientSecretBasic(secret), options);
const posting = await client.discovery(new URL(issuer), "app", undefined, client.ClientSecretPost(secret), options);
say("discovery", { issuer: spa.serverMetadata().issuer === issuer, pkce: spa.serverMetadata().supportsPKCE() });

async function login(config) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectURI, scope: "api:read", state, resource,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  return client.authorizationCodeGrant(config, await consent(url), { pkceCodeVerifier: verifier, expectedState: state });
}
const call = async (config, token) => {
  try {
    return (await client.fetchProtectedResource(config, token, new URL(resource), "GET")).status;
  } catch (e) {
    return e.status;
  }
};

const tokens = await login(spa);
say("code", { type: tokens.token_type, scope: tokens.scope, expires: tokens.expiresIn() > 0, call: await call(spa, tokens.access_token) });
const confidential = await login(app);
say("code, with a secret", { call: await call(app, confidential.access_token) });

const second = await client.refreshTokenGrant(spa, tokens.refresh_token);
say("refresh", { rotated: second.refresh_token !== tokens.refresh_token, call: await call(spa, second.access_token) });
say("refresh of another client", { code: await fails(client.refreshTokenGrant(app, second.refresh_token)) });

const own = await client.clientCredentialsGrant(app, { scope: "api:read", resource });
say("client_credentials", { scope: own.scope, call: await call(app, own.access_token) });
say("in the body", { call: await call(posting, (await client.clientCredentialsGrant(posting, { resource })).access_token) });
say("unknown grant", { code: await fails(client.genericGrantRequest(app, "password", { username: "alice", password: "x" })) });

const about = await client.tokenIntrospection(app, confidential.access_token);
say("introspect", { active: about.active, sub: about.sub });
await client.tokenRevocation(app, confidential.refresh_token);
say("revoked", {
  refresh: await fails(client.refreshTokenGrant(app, confidential.refresh_token)),
  introspect: (await client.tokenIntrospection(app, confidential.access_token)).active,
  call: await call(app, confidential.access_token),
});
