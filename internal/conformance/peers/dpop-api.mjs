// An API that is not ours: oauth4webapi checks the proofs and tokens (RFC 9449,
// Section 7) of an issuer of ours. It prints its URL, and ends with its standard input.
//
//	node dpop-api.mjs ISSUER AUDIENCE

import { createServer } from "node:http";
import * as oauth from "oauth4webapi";

const [issuer, audience] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };
const issuerURL = new URL(issuer);
const as = await oauth.processDiscoveryResponse(issuerURL, await oauth.discoveryRequest(issuerURL, { algorithm: "oauth2", ...insecure }));

const server = createServer(async ({ method, url, headers }, response) => {
  const request = new Request(`http://${headers.host}${url}`, { method, headers });
  try {
    const claims = await oauth.validateJwtAccessToken(as, request, audience, { requireDPoP: true, ...insecure });
    response.setHeader("subject", claims.sub).writeHead(204).end();
  } catch (e) {
    response.writeHead(401, { "www-authenticate": 'DPoP error="invalid_dpop_proof"', "content-type": "text/plain" }).end(e.message);
  }
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
process.stdin.resume().on("end", () => process.exit());
