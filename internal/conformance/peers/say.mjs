// What the scripts have in common: they tell the test what they saw, one line of
// JSON for each step.

export const say = (step, details = {}) => console.log(JSON.stringify({ step, ...details }));

// fails returns what the error is called that a promise must end with: its OAuth
// code, the scheme of a challenge, or the library's own name for it.
export async function fails(promise) {
  try {
    await promise;
  } catch (e) {
    const challenge = Array.isArray(e.cause) ? `challenge ${e.cause[0].scheme}` : undefined;
    return challenge ?? e.error ?? e.cause?.error ?? e.code ?? e.name;
  }
  return "nothing";
}

// forged changes the token's signature, and its claims when asked to.
export function forged(token, changes) {
  let [header, payload, signature] = token.split(".");
  if (changes) {
    const claims = JSON.parse(Buffer.from(payload, "base64url"));
    payload = Buffer.from(JSON.stringify({ ...claims, ...changes })).toString("base64url");
    return [header, payload, signature].join(".");
  }
  const bytes = Buffer.from(signature, "base64url");
  bytes[bytes.length >> 1] ^= 1;
  return [header, payload, bytes.toString("base64url")].join(".");
}

// consent stands for the user's browser: it opens the authorization page and
// returns the URL that it is sent back to.
export async function consent(url) {
  const response = await fetch(url, { redirect: "manual" });
  const location = response.headers.get("location");
  if (!location) {
    throw new Error(`the page answers ${response.status} and sends nobody back`);
  }
  return new URL(location);
}
