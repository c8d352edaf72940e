// oauth4webapi, which is strict about what a server answers, uses all endpoints of
// ours, and the API behind the middleware.
//
//	node oauth4webapi.mjs ISSUER RESOURCE REDIRECT_URI SECRET

import * as oauth from "oauth4webapi";

import { consent, fails, forged, say } from "./say.mjs";

const [issuer, resource, redirectURI, secret] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };

// What there is, from nothing but the address of the API.
const api = await oauth.processResourceDiscoveryResponse(new URL(resource), await oauth.resourceDiscoveryRequest(new URL(resource), insecure));
const issuerURL = new URL(api.authorization_servers[0]);
const as = await oauth.processDiscoveryResponse(issuerURL, await oauth.discoveryRequest(issuerURL, { algorithm: "oauth2", ...insecure }));
say("discovery", { issuer: as.issuer === issuer, pkce: as.code_challenge_methods_supported });

const spa = { client_id: "spa" };
const app = { client_id: "app" };

const call = (token) => oauth.protectedResourceRequest(token, "GET", new URL(resource), undefined, undefined, insecure);
const verify = async (token, audience = resource) => {
  const request = new Request(resource, { headers: { authorization: `Bearer ${token}` } });
  return (await oauth.validateJwtAccessToken(as, request, audience, insecure)).sub;
};
const challenge = async (token) => {
  try {
    await call(token);
  } catch (e) {
    return { status: e.status, scheme: e.cause[0].scheme, error: e.cause[0].parameters.error, reason: e.cause[0].parameters.reason };
  }
  return {};
};

// authorization_code with PKCE, for a public client and one with a secret.
async function login(client, auth, changes = {}) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(as.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: client.client_id, redirect_uri: redirectURI, response_type: "code", scope: "api:read", state, resource,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  })) {
    url.searchParams.set(name, value);
  }
  const parameters = oauth.validateAuthResponse(as, client, await consent(url), state);
  const exchange = async () => oauth.processAuthorizationCodeResponse(as, client,
    await oauth.authorizationCodeGrantRequest(as, client, auth, parameters, redirectURI, changes.verifier ?? verifier, insecure));
  return { tokens: await exchange(), exchange };
}
const refresh = async (client, auth, token) => oauth.processRefreshTokenResponse(as, client,
  await oauth.refreshTokenGrantRequest(as, client, auth, token, insecure));

const { tokens } = await login(spa, oauth.None());
say("code", { type: tokens.token_type, scope: tokens.scope, refreshable: "refresh_token" in tokens, sub: await verify(tokens.access_token) });
say("call", { status: (await call(tokens.access_token)).status });
say("refused", await challenge(forged(tokens.access_token)));
say("wrong audience", { code: await fails(verify(tokens.access_token, "https://invoices.example.com")) });
say("wrong verifier", { code: await fails(login(spa, oauth.None(), { verifier: oauth.generateRandomCodeVerifier() })) });

const again = await login(app, oauth.ClientSecretBasic(secret));
say("code twice", { code: await fails(again.exchange()) });
say("its session", { code: await fails(refresh(app, oauth.ClientSecretBasic(secret), again.tokens.refresh_token)) });

// Refresh, with rotation.
const second = await refresh(spa, oauth.None(), tokens.refresh_token);
say("refresh", { rotated: second.refresh_token !== tokens.refresh_token, sub: await verify(second.access_token) });
say("refresh of another client", { code: await fails(refresh(app, oauth.ClientSecretBasic(secret), second.refresh_token)) });
const third = await refresh(spa, oauth.None(), second.refresh_token);
say("replay", { code: await fails(refresh(spa, oauth.None(), tokens.refresh_token)) });
say("after the replay", { code: await fails(refresh(spa, oauth.None(), third.refresh_token)) });

// client_credentials, authenticated in each way.
const grant = async (auth, parameters = {}) => oauth.processClientCredentialsResponse(as, app,
  await oauth.clientCredentialsGrantRequest(as, app, auth, { resource, ...parameters }, insecure));
const own = await grant(oauth.ClientSecretBasic(secret), { scope: "api:read" });
say("client_credentials", { scope: own.scope, refreshable: "refresh_token" in own, sub: await verify(own.access_token) });
say("in the body", { sub: await verify((await grant(oauth.ClientSecretPost(secret))).access_token) });
say("wrong secret", { code: await fails(grant(oauth.ClientSecretBasic("another-secret-another-secret-another"))) });
say("no secret", { code: await fails(grant(oauth.None())) });
say("wrong scope", { code: await fails(grant(oauth.ClientSecretBasic(secret), { scope: "admin" })) });
say("wrong resource", { code: await fails(grant(oauth.ClientSecretBasic(secret), { resource: "https://invoices.example.com" })) });

// Introspection and revocation.
const introspect = async (token) => oauth.processIntrospectionResponse(as, app,
  await oauth.introspectionRequest(as, app, oauth.ClientSecretBasic(secret), token, insecure));
const revoke = async (client, auth, token) => oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, insecure));
const third2 = (await login(spa, oauth.None())).tokens;
const about = await introspect(third2.access_token);
say("introspect", { active: about.active, sub: about.sub, client: about.client_id });
say("introspect nothing", await introspect("nothing"));
await revoke(spa, oauth.None(), third2.refresh_token);
say("revoked", {
  refresh: await fails(refresh(spa, oauth.None(), third2.refresh_token)), introspect: (await introspect(third2.access_token)).active,
  call: await challenge(third2.access_token),
});
await revoke(app, oauth.ClientSecretBasic(secret), own.access_token);
say("revoked itself", await challenge(own.access_token));
await revoke(spa, oauth.None(), "nothing");
say("revoked nothing");
