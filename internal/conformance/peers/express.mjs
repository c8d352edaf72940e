// An API behind express-oauth2-jwt-bearer, which finds our keys by our metadata.
//
//	node express.mjs ISSUER AUDIENCE TOKEN

import express from "express";
import { auth, requiredScopes } from "express-oauth2-jwt-bearer";

import { forged, say } from "./say.mjs";

const [issuer, audience, token] = process.argv.slice(2);

async function serve(audience, use) {
  const app = express();
  app.use(auth({ issuerBaseURL: issuer, audience, strict: true }));
  app.get("/", (request, response) => response.json({ sub: request.auth.payload.sub }));
  app.get("/read", requiredScopes("api:read"), (request, response) => response.end());
  app.get("/admin", requiredScopes("admin"), (request, response) => response.end());
  app.use((error, request, response, next) => response.status(error.status ?? 500).set(error.headers).end());
  const server = await new Promise((listening) => { const s = app.listen(0, "127.0.0.1", () => listening(s)); });
  await use(async (path, token) => {
    const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`, {
      headers: token ? { authorization: `Bearer ${token}` } : {},
    });
    const text = await response.text();
    return { status: response.status, body: text && JSON.parse(text) };
  });
  server.closeAllConnections();
  server.close();
}

await serve(audience, async (get) => {
  const response = await get("/", token);
  say("accepted", { status: response.status, ...response.body });
  say("scope", { read: (await get("/read", token)).status, admin: (await get("/admin", token)).status });
  say("forged", { status: (await get("/", forged(token))).status });
  say("altered", { status: (await get("/", forged(token, { sub: "mallory" }))).status });
  say("without", { status: (await get("/")).status });
});
await serve("https://invoices.example.com", async (get) => say("another audience", { status: (await get("/", token)).status }));
process.exit(); // the library has left a 404 unread, whose connection would stay open
