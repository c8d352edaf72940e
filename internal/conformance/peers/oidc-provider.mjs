// An OpenID provider that is not ours: JWT access tokens (RFC 9068) of all
// algorithms, code with PKCE, rotation, revocation, and DPoP with nonces for who sends
// proofs. Its user is always alice, who allows everything. It prints its URL, and ends
// with its standard input.
//
//	node oidc-provider.mjs REDIRECT_URI SECRET

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [redirectURI, secret] = process.argv.slice(2);
const algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];

const keys = [];
for (const alg of algorithms) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  keys.push({ ...(await exportJWK(privateKey)), kid: `key-${alg}`, alg, use: "sig" });
}

const configuration = {
  clients: [
    { client_id: "app", client_secret: secret, grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
    {
      client_id: "mobile", application_type: "native", token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], redirect_uris: [redirectURI],
    },
  ],
  jwks: { keys },
  cookies: { keys: ["an obviously fake key for cookies"] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
  enabledJWA: { idTokenSigningAlgValues: algorithms, userinfoSigningAlgValues: algorithms },
  async loadExistingGrant(ctx) {
    const { client, session, params } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid");
    if (params.resource) {
      grant.addResourceScope(params.resource, "api:read");
    }
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      // The last part of a resource's name is the algorithm of its tokens.
      getResourceServerInfo: (ctx, resource) => ({
        scope: "api:read", audience: resource, accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg: resource.split(":").pop() } },
      }),
    },
  },
};

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const handle = provider.callback();
  server.on("request", (request, response) => {
    if (request.url.startsWith("/interaction/")) {
      provider.interactionFinished(request, response, { login: { accountId: "alice" }, consent: {} });
    } else {
      handle(request, response);
    }
  });
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit());
