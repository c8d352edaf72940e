// oauth4webapi with DPoP (RFC 9449), against an issuer and an API of ours that ask for
// nonces: the code is bound to its key, and so are the tokens.
//
//	node oauth4webapi-dpop.mjs ISSUER RESOURCE REDIRECT_URI SECRET

import * as oauth from "oauth4webapi";

import { consent, fails, say } from "./say.mjs";

const [issuer, resource, redirectURI, secret] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };

const api = await oauth.processResourceDiscoveryResponse(new URL(resource), await oauth.resourceDiscoveryRequest(new URL(resource), insecure));
const issuerURL = new URL(issuer);
const as = await oauth.processDiscoveryResponse(issuerURL, await oauth.discoveryRequest(issuerURL, { algorithm: "oauth2", ...insecure }));
say("discovery", { issuer: as.dpop_signing_alg_values_supported, api: api.dpop_signing_alg_values_supported });

const spa = { client_id: "spa" };
const app = { client_id: "app" };

// A prover is a key, and counts how often a server asked it for a nonce.
const prover = async () => ({ DPoP: oauth.DPoP(spa, await oauth.generateKeyPair("ES256")), asked: 0 });
async function proven(who, request) {
  try {
    return await request({ DPoP: who.DPoP, ...insecure });
  } catch (e) {
    if (!oauth.isDPoPNonceError(e)) {
      throw e;
    }
    who.asked++;
    return request({ DPoP: who.DPoP, ...insecure });
  }
}

// login is a code for the key of owner, which user spends.
async function login(owner, user) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(as.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: "spa", redirect_uri: redirectURI, response_type: "code", scope: "api:read", state, resource,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
    dpop_jkt: await owner.DPoP.calculateThumbprint(),
  })) {
    url.searchParams.set(name, value);
  }
  const parameters = oauth.validateAuthResponse(as, spa, await consent(url), state);
  return proven(user, async (options) => oauth.processAuthorizationCodeResponse(as, spa,
    await oauth.authorizationCodeGrantRequest(as, spa, oauth.None(), parameters, redirectURI, verifier, options)));
}
const refresh = (who, token) => proven(who, async (options) => oauth.processRefreshTokenResponse(as, spa,
  await oauth.refreshTokenGrantRequest(as, spa, oauth.None(), token, options)));
const call = (who, token) => proven(who, (options) => oauth.protectedResourceRequest(token, "GET", new URL(resource + "?page=2"), undefined, undefined, options));

const owner = await prover();
const thief = await prover();
const tokens = await login(owner, owner);
say("code", { type: tokens.token_type, asked: owner.asked });
say("call", { status: (await call(owner, tokens.access_token)).status, asked: owner.asked });
say("another call", { status: (await call(owner, tokens.access_token)).status, asked: owner.asked });
say("code of another key", { code: await fails(login(owner, thief)) });
say("token of another key", { code: await fails(call(thief, tokens.access_token)) });
say("as a bearer token", { code: await fails(oauth.protectedResourceRequest(tokens.access_token, "GET", new URL(resource), undefined, undefined, insecure)) });

// A refresh needs the key, and one without changes nothing.
say("refresh with another key", { code: await fails(refresh(thief, tokens.refresh_token)) });
const second = await refresh(owner, tokens.refresh_token);
say("refresh", { type: second.token_type, rotated: second.refresh_token !== tokens.refresh_token });
say("its token", { status: (await call(owner, second.access_token)).status });

// A client with a secret, and what introspection says.
const own = await proven(owner, async (options) => oauth.processClientCredentialsResponse(as, app,
  await oauth.clientCredentialsGrantRequest(as, app, oauth.ClientSecretBasic(secret), { resource, scope: "api:read" }, options)));
say("client_credentials", { type: own.token_type, status: (await call(owner, own.access_token)).status });
const about = await oauth.processIntrospectionResponse(as, app,
  await oauth.introspectionRequest(as, app, oauth.ClientSecretBasic(secret), second.access_token, insecure));
say("introspect", { type: about.token_type, bound: about.cnf.jkt === await owner.DPoP.calculateThumbprint() });
