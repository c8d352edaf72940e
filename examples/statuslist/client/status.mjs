// A verifier and an issuer that use @sd-jwt/jwt-status-list, and the cryptography of
// Node. One JSON document goes in on stdin, another one out on stdout.
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { StatusList, createHeaderAndPayload, getListFromStatusListJWT, getStatusListFromJWT } from '@sd-jwt/jwt-status-list';

const segment = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decoded = (jwt, n) => JSON.parse(Buffer.from(jwt.split('.')[n], 'base64url'));
const options = (key) => ({ key, dsaEncoding: 'ieee-p1363' });

function verified(jwt, jwks) {
  const { alg, kid } = decoded(jwt, 0);
  const key = createPublicKey({ key: jwks.keys.find((k) => k.kid === kid && k.alg === alg), format: 'jwk' });
  const [header, payload, signature] = jwt.split('.');
  return verify('sha256', Buffer.from(`${header}.${payload}`), options(key), Buffer.from(signature, 'base64url'));
}

// read returns the status of each token, as the list that it names has it.
async function read({ jwks, tokens }) {
  const keys = await (await fetch(jwks)).json();
  const statuses = [];
  for (const token of tokens) {
    const { idx, uri } = getStatusListFromJWT(token);
    const response = await fetch(uri, { headers: { Accept: 'application/statuslist+jwt' } });
    const list = await response.text();
    const header = decoded(list, 0), claims = decoded(list, 1), entries = getListFromStatusListJWT(list);
    statuses.push({
      token: verified(token, keys), list: verified(list, keys), type: response.headers.get('content-type'), typ: header.typ,
      named: claims.sub === uri, ttl: claims.ttl, size: entries.statusList.length,
      status: entries.getStatus(idx),
    });
  }
  return statuses;
}

// make returns a list of its own, with its keys and tokens that name its entries.
function make({ uri, bits, statuses, claims }) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const now = Math.floor(Date.now() / 1000);
  const signed = (header, payload) => {
    const input = `${segment(header)}.${segment(payload)}`;
    return `${input}.${sign('sha256', Buffer.from(input), options(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })))).toString('base64url')}`;
  };
  const { header, payload } = createHeaderAndPayload(
    new StatusList(statuses, bits), { iss: claims.iss, sub: uri, iat: now, exp: now + 900, ttl: 300 }, { alg: 'ES256', typ: 'statuslist+jwt', kid: 'node' });
  return {
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'node', alg: 'ES256', use: 'sig' }] },
    list: signed(header, payload),
    tokens: statuses.map((_, idx) => signed(
      { alg: 'ES256', typ: 'at+jwt', kid: 'node' }, { ...claims, iat: now, exp: now + 900, status: { status_list: { idx, uri } } })),
  };
}

let text = '';
for await (const part of process.stdin) text += part;
const request = JSON.parse(text);
process.stdout.write(JSON.stringify(request.tokens ? await read(request) : make(request)));
